// base/bytes: golden bytes, round trips, and readers that meet wrong bytes.
#include "base/bytes.h"

#include <limits>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace amc {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(BytesTest, LayoutIsLittleEndianWithCountsInFront) {
  ByteWriter writer;
  writer.U8(0xab);
  writer.U32(0x01020304);
  writer.I64(-2);
  writer.Float(1.0f);
  writer.String("hi");
  writer.Floats({-2.0f});
  const std::string golden(
      "\xab"
      "\x04\x03\x02\x01"
      "\xfe\xff\xff\xff\xff\xff\xff\xff"
      "\x00\x00\x80\x3f"
      "\x02\x00\x00\x00\x00\x00\x00\x00hi"
      "\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xc0",
      1 + 4 + 8 + 4 + 10 + 12);
  EXPECT_EQ(writer.bytes(), golden);
}

TEST(BytesTest, ReadsBackWhatWasWritten) {
  ByteWriter writer;
  writer.U64(std::numeric_limits<uint64_t>::max());
  writer.I64(std::numeric_limits<int64_t>::min());
  writer.Double(-0.1);
  writer.String(std::string("a\0b", 3));
  writer.Floats({1.5f, std::numeric_limits<float>::infinity()});
  writer.Doubles({});
  ByteReader reader(writer.bytes());
  EXPECT_EQ(reader.U64(), std::numeric_limits<uint64_t>::max());
  EXPECT_EQ(reader.I64(), std::numeric_limits<int64_t>::min());
  EXPECT_EQ(reader.Double(), -0.1);
  EXPECT_EQ(reader.String(), std::string("a\0b", 3));
  EXPECT_THAT(reader.Floats(), ElementsAre(1.5f, std::numeric_limits<float>::infinity()));
  EXPECT_THAT(reader.Doubles(), IsEmpty());
  EXPECT_TRUE(reader.Finish().ok());
}

TEST(BytesTest, EveryTruncationIsReported) {
  ByteWriter writer;
  writer.U32(7);
  writer.String("state");
  writer.Floats({1, 2, 3});
  for (size_t size = 0; size < writer.bytes().size(); ++size) {
    const std::string cut = writer.bytes().substr(0, size);
    ByteReader reader(cut);
    reader.U32();
    reader.String();
    reader.Floats();
    EXPECT_FALSE(reader.Finish().ok()) << size << " bytes";
  }
}

TEST(BytesTest, ACountBeyondTheEndAllocatesNothing) {
  ByteWriter writer;
  writer.U64(uint64_t{1} << 62);
  ByteReader reader(writer.bytes());
  EXPECT_THAT(reader.Floats(), IsEmpty());
  EXPECT_TRUE(reader.failed());
  EXPECT_EQ(reader.U64(), 0u);  // the error stays
  EXPECT_EQ(reader.Finish().code(), absl::StatusCode::kInvalidArgument);
}

TEST(BytesTest, BytesLeftOverAreReported) {
  ByteWriter writer;
  writer.U64(1);
  ByteReader reader(writer.bytes());
  reader.U32();
  EXPECT_THAT(std::string(reader.Finish().message()), HasSubstr("4 are left over"));
}

}  // namespace
}  // namespace amc
