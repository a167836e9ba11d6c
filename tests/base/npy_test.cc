// .npy files. The bytes of GoldenBytes were written by NumPy 1.24: np.save of
// np.array([[1, -2.5, 3]], dtype="<f4").
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/npy.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace amc {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string GoldenBytes() {
  return absl::HexStringToBytes(
      "934e554d5059010076007b276465736372273a20273c6634272c2027666f727472616e5f6f72"
      "646572273a2046616c73652c20277368617065273a2028312c2033292c207d20202020202020"
      "2020202020202020202020202020202020202020202020202020202020202020202020202020"
      "202020202020202020202020200a0000803f000020c000004040");
}

std::string WithHeader(const std::string& header, int version = 1) {
  std::string bytes =
      absl::StrCat("\x93NUMPY", std::string(1, static_cast<char>(version)), std::string(1, '\0'),
                   std::string(1, static_cast<char>(header.size())), std::string(1, '\0'));
  if (version > 1) bytes.append(2, '\0');
  return bytes + header;
}

TEST(NpyTest, ReadsWhatNumPyWrites) {
  const auto array = ParseNpy(GoldenBytes());
  ASSERT_TRUE(array.ok()) << array.status();
  EXPECT_THAT(array->shape, ElementsAre(1, 3));
  EXPECT_THAT(array->values, ElementsAre(1.0f, -2.5f, 3.0f));
}

TEST(NpyTest, WritesWhatNumPyWrites) {
  EXPECT_EQ(SerializeNpy({.shape = {1, 3}, .values = {1.0f, -2.5f, 3.0f}}), GoldenBytes());
}

TEST(NpyTest, ReadsLaterVersionsAndOddShapes) {
  const std::string one(4, '\0');
  for (const int version : {1, 2, 3}) {
    for (const char* shape : {"()", "(1,)", "(1, 1)"}) {
      const std::string header =
          absl::StrCat("{'descr': '<f4', 'fortran_order': False, 'shape': ", shape, ", }\n");
      EXPECT_TRUE(ParseNpy(WithHeader(header, version) + one).ok()) << version << shape;
    }
  }
}

TEST(NpyTest, EveryTruncationIsRefused) {
  const std::string whole = GoldenBytes();
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_EQ(ParseNpy(whole.substr(0, size)).status().code(), absl::StatusCode::kInvalidArgument)
        << size;
  }
  EXPECT_FALSE(ParseNpy(whole + "x").ok());
}

TEST(NpyTest, RefusesWhatItCannotRead) {
  const auto error = [](const std::string& header, int version = 1) {
    const auto array = ParseNpy(WithHeader(header, version));
    EXPECT_EQ(array.status().code(), absl::StatusCode::kInvalidArgument) << header;
    return std::string(array.status().message());
  };
  EXPECT_THAT(error("{'descr': '<f8', 'fortran_order': False, 'shape': (0,), }"),
              HasSubstr("'<f8'"));
  EXPECT_THAT(error("{'descr': '>f4', 'fortran_order': False, 'shape': (0,), }"),
              HasSubstr("'>f4'"));
  EXPECT_THAT(error("{'descr': '<f4', 'fortran_order': True, 'shape': (0,), }"),
              HasSubstr("C order"));
  EXPECT_THAT(error("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }"),
              HasSubstr("(-1,)"));
  EXPECT_THAT(error("{'descr': '<f4', 'fortran_order': False, 'shape': (1, x), }"),
              HasSubstr("(1, x)"));
  EXPECT_THAT(
      error("{'descr': '<f4', 'fortran_order': False, 'shape': (4000000000, 4000000000), }"),
      HasSubstr("4000000000"));
  EXPECT_THAT(error("{'descr': '<f4', 'fortran_order': False, 'shape': 3"), HasSubstr("shape"));
  EXPECT_THAT(error("{'descr': '<f4', 'shape': (0,), }"), HasSubstr("fortran_order"));
  EXPECT_THAT(error("nonsense"), HasSubstr("descr"));
  EXPECT_THAT(error("{}", 9), HasSubstr("version 9"));
}

}  // namespace
}  // namespace amc
