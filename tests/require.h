// What a test does without something that it needs from outside the repository.
#pragma once

#include <cstdlib>
#include <string>

#include "gtest/gtest.h"

// Ends the test because `what` (an expression for a stream) is missing: skips it, or fails it when
// AMC_REQUIRE=1 (as in CI).
#define AMC_SKIP_WITHOUT(what)                                       \
  do {                                                               \
    const char* const amc_require = std::getenv("AMC_REQUIRE");      \
    if (amc_require != nullptr && std::string(amc_require) == "1") { \
      GTEST_FAIL() << what << ", and AMC_REQUIRE=1";                 \
    }                                                                \
    GTEST_SKIP() << what;                                            \
  } while (false)
