// Runs tests/golden/pytorch_networks.py, for tests that take their known answers from PyTorch.
#pragma once

#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "base/file.h"
#include "gtest/gtest.h"
#include "tests/require.h"

namespace amc::testing {

inline bool HasPyTorch() {
  return std::system("/usr/bin/python3 -c 'import torch' > /dev/null 2>&1") == 0;
}

inline bool RunPyTorch(const std::string& what, const std::string& out) {
  const std::string command = "OMP_NUM_THREADS=1 /usr/bin/python3 -W ignore " AMC_SOURCE_DIR
                              "/tests/golden/pytorch_networks.py " +
                              what + " " + out + " > /dev/null";
  return std::system(command.c_str()) == 0;
}

// The file's bytes as values of T.
template <typename T>
std::vector<T> ReadValues(const std::string& path) {
  const absl::StatusOr<std::string> bytes = ReadFile(path);
  EXPECT_TRUE(bytes.ok()) << bytes.status();
  if (!bytes.ok()) return {};
  std::vector<T> values(bytes->size() / sizeof(T));
  std::memcpy(values.data(), bytes->data(), values.size() * sizeof(T));
  return values;
}

}  // namespace amc::testing

// Skips the test without PyTorch, or fails it when AMC_REQUIRE=1 (as in CI).
#define AMC_PYTORCH_OR_SKIP()        \
  if (!::amc::testing::HasPyTorch()) \
  AMC_SKIP_WITHOUT("/usr/bin/python3 has no torch (package python3-torch)")
