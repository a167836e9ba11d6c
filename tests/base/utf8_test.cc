// UTF-8 against RFC 3629's own examples and limits.
#include "base/utf8.h"

#include "gtest/gtest.h"

namespace amc {
namespace {

TEST(Utf8Test, TakesCharactersOfOneToFourBytes) {
  for (const char* text : {"", "conv1/relu", "\x7F", "\xC2\x80", "\xDF\xBF", "\xE0\xA0\x80",
                           "\xED\x9F\xBF", "\xEE\x80\x80", "\xEF\xBF\xBF", "\xF0\x90\x80\x80",
                           "\xF4\x8F\xBF\xBF", "H\xC3\xBCnd\xC3\xAAn \xE6\xB0\xB4"}) {
    EXPECT_TRUE(IsUtf8(text)) << text;
    EXPECT_EQ(ToUtf8(text), text);
  }
  EXPECT_TRUE(IsUtf8(absl::string_view("a\0b", 3)));
}

TEST(Utf8Test, RefusesWhatTheRfcForbids) {
  for (const char* bytes : {"\x80", "\xBF", "\xFE", "\xFF",                              // no leads
                            "\xC0\xAF", "\xC1\xBF", "\xE0\x9F\xBF", "\xF0\x8F\xBF\xBF",  // overlong
                            "\xED\xA0\x80", "\xED\xBF\xBF",          // surrogates
                            "\xF4\x90\x80\x80", "\xF5\x80\x80\x80",  // above U+10FFFF
                            "\xC3", "\xE6\xB0", "\xF0\x90\x80",      // cut short
                            "\xC3(", "\xE6\xB0(", "\xF0\x90\x80("}) {
    EXPECT_FALSE(IsUtf8(bytes)) << ToUtf8(bytes);
    EXPECT_EQ(Utf8Prefix(bytes), 0);
    EXPECT_TRUE(IsUtf8(ToUtf8(bytes)));
  }
}

TEST(Utf8Test, SaysWhereTheFirstBadByteStands) {
  EXPECT_EQ(Utf8Prefix("Hund\xFF"), 4);
  EXPECT_EQ(Utf8Prefix("\xC3\xBC\xFCx"), 2);
}

TEST(Utf8Test, ReplacesEachBadByteAndKeepsTheRest) {
  EXPECT_EQ(ToUtf8("H\xFCnd"), "H\xEF\xBF\xBDnd");
  EXPECT_EQ(ToUtf8("\xE6\xB0x\xC3\xBC\xFF"), "\xEF\xBF\xBD\xEF\xBF\xBDx\xC3\xBC\xEF\xBF\xBD");
}

}  // namespace
}  // namespace amc
