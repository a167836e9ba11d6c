// Files that arrive in pieces.
#include "base/atomic_writer.h"

#include <filesystem>
#include <iterator>

#include "base/file.h"
#include "base/sha256.h"
#include "gtest/gtest.h"

namespace amc {
namespace {

TEST(AtomicWriterTest, NothingIsSeenBeforeTheCommit) {
  const TempDirectory folder = *TempDirectory::Create();
  const std::string path = folder.path() + "/file";
  ASSERT_TRUE(WriteFileAtomically(path, "old").ok());
  {
    const auto dropped = *AtomicWriter::Open(path);
    ASSERT_TRUE(dropped->Append("never seen").ok());
  }
  EXPECT_EQ(*ReadFile(path), "old");
  const auto writer = *AtomicWriter::Open(path, path + ".part");
  ASSERT_TRUE(writer->Append("ab").ok() && writer->Append("c").ok());
  EXPECT_EQ(*ReadFile(path), "old");
  EXPECT_EQ(writer->size(), 3);
  EXPECT_EQ(writer->Digest(), Sha256Hex("abc"));
  ASSERT_TRUE(writer->Commit().ok());
  EXPECT_EQ(*ReadFile(path), "abc");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
  EXPECT_TRUE(absl::IsNotFound(AtomicWriter::Open(folder.path() + "/none/x").status()));
}

}  // namespace
}  // namespace amc
