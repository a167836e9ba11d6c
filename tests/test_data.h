// Where tests find data from outside: the folder named by AMC_TEST_DATA.
#pragma once

#include <cstdlib>
#include <string>

#include "tests/require.h"

// Skips the test when AMC_TEST_DATA is unset, or fails it when AMC_REQUIRE=1 (as in CI); otherwise
// defines `std::string variable`, the path of RELATIVE in that folder.
#define AMC_TEST_DATA_OR_SKIP(variable, relative)                                  \
  const char* const amc_test_data_root = std::getenv("AMC_TEST_DATA");             \
  if (amc_test_data_root == nullptr) AMC_SKIP_WITHOUT("AMC_TEST_DATA is not set"); \
  const std::string variable = std::string(amc_test_data_root) + "/" + (relative)
