#include "env/backend/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/bytes.h"
#include "base/rng.h"

namespace amc {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string File(const std::string& header, const std::string& data = "") {
  ByteWriter writer;
  writer.String(header);
  return writer.bytes() + data;
}

std::string ErrorOf(const std::string& header, const std::string& data = "") {
  return std::string(ParseSafetensors(File(header, data)).status().message());
}

// The order and the text are those of the reference implementation: 8-byte types first, and no
// spaces but those that pad the header.
TEST(SafetensorsTest, WritesGoldenBytes) {
  const std::vector<float> a = {1, -2};
  const std::vector<int64_t> b = {3};
  const std::vector<uint8_t> c = {4};
  Safetensors content;
  content.metadata["format"] = "pt";
  content.tensors["a"] = ViewElements(SafetensorsType::kF32, {2}, a);
  content.tensors["c"] = ViewElements(SafetensorsType::kU8, {}, c);
  content.tensors["b"] = ViewElements(SafetensorsType::kI64, {1}, b);
  const auto file = SerializeSafetensors(content);
  ASSERT_TRUE(file.ok()) << file.status();
  const std::string header =
      R"({"__metadata__":{"format":"pt"},"b":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},)"
      R"("a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]},)"
      R"("c":{"dtype":"U8","shape":[],"data_offsets":[16,17]}})";
  ASSERT_EQ(header.size(), 192u);
  using std::string_literals::operator""s;
  EXPECT_EQ(*file,
            "\xc0\0\0\0\0\0\0\0"s + header + "\x03\0\0\0\0\0\0\0\0\0\x80\x3f\0\0\0\xc0\x04"s);

  const auto read = ParseSafetensors(*file);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(*read, content);
  EXPECT_THAT(CopyElements<float>(read->tensors.at("a")), ElementsAre(1, -2));
}

TEST(SafetensorsTest, PadsTheHeaderToEightBytes) {
  for (const char* name : {"a", "ab", "abc", "abcd", "abcde", "abcdef", "abcdefg", "abcdefgh"}) {
    Safetensors content;
    content.tensors[name] = {SafetensorsType::kF16, {0, 3}, ""};
    const std::string file = SerializeSafetensors(content).value();
    EXPECT_EQ(file.size() % 8, 0u);
    EXPECT_EQ(ParseSafetensors(file).value(), content);
  }
  EXPECT_EQ(SerializeSafetensors({}).value(), File("{}      "));
}

TEST(SafetensorsTest, StringsMayHoldAnyCharacter) {
  Safetensors content;
  content.metadata["quote \" back \\ line \n tab \t bell \x07"] =
      "gr\xc3\xbc\xc3\x9f \xf0\x9f\x98\x80";
  EXPECT_EQ(ParseSafetensors(SerializeSafetensors(content).value()).value(), content);
  const auto read =
      ParseSafetensors(File(R"({"__metadata__" : {"a":"\u00fc\ud83d\ude00\/\b\f\n\r\t\"\\" } } )"));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->metadata.at("a"), "\xc3\xbc\xf0\x9f\x98\x80/\b\f\n\r\t\"\\");
}

TEST(SafetensorsTest, TensorsMayStandInAnyOrder) {
  const std::string file = File(R"({"a":{"data_offsets":[1,3],"shape":[2],"dtype":"I8"},)"
                                R"("b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
                                "xyz");
  const auto read = ParseSafetensors(file);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->tensors.at("a").bytes, "yz");
  EXPECT_EQ(read->tensors.at("b").bytes, "x");
}

TEST(SafetensorsTest, RefusesWrongHeaders) {
  const std::string tensor = R"({"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
  EXPECT_THAT(ErrorOf(""), HasSubstr("byte 8: the header does not begin with '{'"));
  EXPECT_THAT(ErrorOf(" {}"), HasSubstr("does not begin"));
  EXPECT_THAT(ErrorOf("{"), HasSubstr("byte 9: want '\"'"));
  EXPECT_THAT(ErrorOf("{}{"), HasSubstr("byte 10: the header goes on"));
  EXPECT_THAT(ErrorOf("{\"a\xff\":1}"), HasSubstr("byte 11: the header is not UTF-8"));
  EXPECT_THAT(ErrorOf(absl::StrCat("{\"a\":", tensor, ",\"a\":", tensor, "}"), "x"),
              HasSubstr("key \"a\" comes twice"));
  EXPECT_THAT(ErrorOf(R"({"__metadata__":{"k":"1","k":"2"}})"), HasSubstr("\"k\" comes twice"));
  EXPECT_THAT(ErrorOf(R"({"__metadata__":{},"__metadata__":{}})"), HasSubstr("comes twice"));
  EXPECT_THAT(ErrorOf(R"({"__metadata__":{"k":1}})"), HasSubstr("byte 29: want '\"'"));
  EXPECT_THAT(ErrorOf(R"({"a":{"dtype":"U8","dtype":"U8"}})"), HasSubstr("\"dtype\" comes twice"));
  EXPECT_THAT(ErrorOf(R"({"a":{"dtype":"F64"}})"), HasSubstr("dtype \"F64\" is not one"));
  EXPECT_THAT(ErrorOf(R"({"a":{"strides":[1]}})"), HasSubstr("key \"strides\", want dtype"));
  EXPECT_THAT(ErrorOf(R"({"a":{"dtype":"U8","shape":[1]}})"), HasSubstr("a tensor lacks"));
  EXPECT_THAT(ErrorOf(R"({"a":{"data_offsets":[0]}})"), HasSubstr("has 1 numbers, want 2"));
  EXPECT_THAT(ErrorOf(R"({"a":{"shape":[-1]}})"), HasSubstr("want a number"));
  EXPECT_THAT(ErrorOf(R"({"a":{"shape":[01]}})"), HasSubstr("begins with 0"));
  EXPECT_THAT(ErrorOf(R"({"a":{"shape":[1.5]}})"), HasSubstr("want ']'"));
  EXPECT_THAT(ErrorOf(R"({"a":{"shape":[1,]}})"), HasSubstr("want a number"));
  EXPECT_THAT(ErrorOf(R"({"a":{"shape":[9223372036854775808]}})"), HasSubstr("2^63 - 1"));
  EXPECT_THAT(ErrorOf(R"({"a":{"shape":[1]},})"), HasSubstr("lacks"));
  EXPECT_THAT(ErrorOf(absl::StrCat("{\"a\":", tensor, ",}"), "x"), HasSubstr("want '\"'"));
  EXPECT_THAT(ErrorOf("{\"a"), HasSubstr("a string does not end"));
  EXPECT_THAT(ErrorOf("{\"\n\":"), HasSubstr("a control character"));
  EXPECT_THAT(ErrorOf(R"({"\x":)"), HasSubstr("an unknown escape"));
  EXPECT_THAT(ErrorOf(R"({"\u12g4":)"), HasSubstr("hexadecimal"));
  EXPECT_THAT(ErrorOf(R"({"\u12)"), HasSubstr("a string does not end"));
  for (const char* half : {R"({"\ud83d":)", R"({"\ude00":)", R"({"\ud83d\u0041":)"}) {
    EXPECT_THAT(ErrorOf(half), HasSubstr("half a surrogate pair")) << half;
  }
}

TEST(SafetensorsTest, RefusesWrongOffsets) {
  const auto error = [](absl::string_view shape, absl::string_view offsets) {
    return ErrorOf(absl::StrCat(R"({"a":{"dtype":"I16","shape":[)", shape, R"(],"data_offsets":[)",
                                offsets, "]}}"),
                   "1234");
  };
  EXPECT_EQ(error("2", "0,4"), "");
  EXPECT_THAT(error("1", "0,2"), HasSubstr("the file at"));
  EXPECT_THAT(error("1", "2,4"), HasSubstr("tensor a: data from 2 to 4, want from 0 to at most 4"));
  EXPECT_THAT(error("4", "0,8"), HasSubstr("data from 0 to 8"));
  EXPECT_THAT(error("2", "4,0"), HasSubstr("data from 4 to 0"));
  EXPECT_THAT(error("1", "0,4"), HasSubstr("tensor a: 4 bytes do not fit I16 [1]"));
  EXPECT_THAT(error("4294967296,4294967296", "0,4"), HasSubstr("do not fit"));
  EXPECT_THAT(error("9223372036854775807,2", "0,4"), HasSubstr("do not fit"));
}

TEST(SafetensorsTest, RefusesWrongLengths) {
  EXPECT_THAT(std::string(ParseSafetensors("1234567").status().message()),
              HasSubstr("7 bytes, want the 8"));
  ByteWriter huge;
  huge.U64(std::numeric_limits<uint64_t>::max());
  EXPECT_THAT(std::string(ParseSafetensors(huge.bytes() + "{}").status().message()),
              HasSubstr("a header of 18446744073709551615 bytes, want at most 2"));
  const std::string large(100'000'001, ' ');
  EXPECT_THAT(ErrorOf(large), HasSubstr("want at most 100000000"));
}

TEST(SafetensorsTest, RefusesToWriteWhatCannotBeRead) {
  Safetensors content;
  content.tensors["a"] = {SafetensorsType::kF32, {2}, "1234"};
  EXPECT_THAT(std::string(SerializeSafetensors(content).status().message()),
              HasSubstr("tensor a: 4 bytes do not fit F32 [2]"));
  content.tensors = {{"__metadata__", {SafetensorsType::kU8, {0}, ""}}};
  EXPECT_FALSE(SerializeSafetensors(content).ok());
  content.tensors = {};
  content.metadata["k"] = "\xff";
  EXPECT_THAT(std::string(SerializeSafetensors(content).status().message()),
              HasSubstr("is not UTF-8"));
}

TEST(SafetensorsTest, FindsWhatIsAskedFor) {
  Safetensors content;
  content.metadata["rows"] = "12";
  content.tensors["a"] = {SafetensorsType::kI8, {2, 3}, "123456"};
  EXPECT_EQ(FindInteger(content, "rows", 12, 12).value(), 12);
  EXPECT_THAT(std::string(FindInteger(content, "rows", 13, 20).status().message()),
              HasSubstr("metadata rows: \"12\", want a number from 13 to 20"));
  EXPECT_THAT(std::string(FindInteger(content, "columns", 0, 1).status().message()),
              HasSubstr("no columns"));
  EXPECT_TRUE(FindTensor(content, "a", SafetensorsType::kI8, {kAnySize, 3}).ok());
  EXPECT_THAT(
      std::string(FindTensor(content, "a", SafetensorsType::kU8, {kAnySize, 3}).status().message()),
      HasSubstr("tensor a: I8 [2, 3], want U8 [any, 3]"));
  EXPECT_FALSE(FindTensor(content, "a", SafetensorsType::kI8, {6}).ok());
  EXPECT_FALSE(FindTensor(content, "b", SafetensorsType::kI8, {6}).ok());
}

// What survives damage is a file of its own right.
TEST(SafetensorsTest, DamagedFilesAreRefusedOrReadWhole) {
  const std::vector<float> a = {1, 2, 3};
  const std::vector<int64_t> b = {4, 5};
  Safetensors content;
  content.metadata = {{"rows", "3"}, {"quoted", "\"\n"}};
  content.tensors["a"] = ViewElements(SafetensorsType::kF32, {3, 1}, a);
  content.tensors["b"] = ViewElements(SafetensorsType::kI64, {2}, b);
  const std::string file = SerializeSafetensors(content).value();
  for (size_t size = 0; size < file.size(); ++size) {
    EXPECT_FALSE(ParseSafetensors(file.substr(0, size)).ok()) << size;
  }
  Rng rng(1);
  for (int i = 0; i < 20000; ++i) {
    std::string damaged = file;
    for (uint64_t flips = 1 + rng.Below(3); flips > 0; --flips) {
      damaged[rng.Below(damaged.size())] = static_cast<char>(rng.Below(256));
    }
    const auto read = ParseSafetensors(damaged);
    if (!read.ok()) {
      ASSERT_EQ(read.status().code(), absl::StatusCode::kInvalidArgument);
      continue;
    }
    const std::string again = SerializeSafetensors(*read).value();
    ASSERT_EQ(ParseSafetensors(again).value(), *read);
  }
}

}  // namespace
}  // namespace amc
