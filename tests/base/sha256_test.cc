// SHA-256 against the vectors of FIPS 180-4 and NIST's examples.
#include "base/sha256.h"

#include "gtest/gtest.h"

namespace amc {
namespace {

TEST(Sha256Test, KnownVectors) {
  EXPECT_EQ(Sha256Hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Sha256Hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Sha256Hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(Sha256Hex(std::string(1'000'000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256Test, PiecesGiveTheDigestOfTheWhole) {
  const std::string whole(100'003, 'x');
  Sha256 hash;
  for (size_t at = 0; at < whole.size(); at += 977) hash.Update(whole.substr(at, 977));
  EXPECT_EQ(hash.HexDigest(), Sha256Hex(whole));
}

TEST(Sha256Test, ZeroBytesCount) {
  EXPECT_NE(Sha256Hex(std::string(1, '\0')), Sha256Hex(std::string(2, '\0')));
}

TEST(Sha256Test, RecognisesDigests) {
  const std::string digest = Sha256Hex("abc");
  EXPECT_TRUE(IsSha256Hex(digest));
  EXPECT_FALSE(IsSha256Hex(""));
  EXPECT_FALSE(IsSha256Hex(digest.substr(1)));
  EXPECT_FALSE(IsSha256Hex(digest + "0"));
  EXPECT_FALSE(IsSha256Hex("BA7816BF" + digest.substr(8)));
  EXPECT_FALSE(IsSha256Hex("../../etc" + digest.substr(9)));
}

}  // namespace
}  // namespace amc
