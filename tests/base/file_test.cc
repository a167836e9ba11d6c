// Whole files: atomic replacement, errors that name path and reason.
#include "base/file.h"

#include <sys/stat.h>

#include <atomic>
#include <cerrno>
#include <filesystem>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace amc {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class FileTest : public ::testing::Test {
 protected:
  std::string Path(const std::string& name) const { return directory_.path() + "/" + name; }
  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(directory_.path())) {
      names.push_back(entry.path().filename().string());
    }
    return names;
  }

  TempDirectory directory_ = TempDirectory::Create().value();
};

std::string Message(const absl::Status& status) { return std::string(status.message()); }

TEST_F(FileTest, SyncsFoldersAndNothingElse) {
  EXPECT_TRUE(SyncFolder(directory_.path()).ok());
  ASSERT_TRUE(WriteFileAtomically(Path("a"), "x").ok());
  EXPECT_EQ(SyncFolder(Path("a")).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(SyncFolder(Path("none"))),
              AllOf(HasSubstr(Path("none")), HasSubstr("No such")));
}

TEST_F(FileTest, WrittenBytesAreReadBack) {
  std::string bytes(300'000, '\0');
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 37);
  ASSERT_TRUE(WriteFileAtomically(Path("a"), bytes).ok());
  EXPECT_EQ(ReadFile(Path("a")).value(), bytes);
  ASSERT_TRUE(WriteFileAtomically(Path("a"), "").ok());
  EXPECT_EQ(ReadFile(Path("a")).value(), "");
}

TEST_F(FileTest, WritingLeavesNoTemporaryFile) {
  ASSERT_TRUE(WriteFileAtomically(Path("a"), "1").ok());
  ASSERT_TRUE(WriteFileAtomically(Path("a"), "2").ok());
  EXPECT_THAT(Names(), ::testing::ElementsAre("a"));
}

TEST_F(FileTest, OthersMayReadWhatIsWritten) {
  ASSERT_TRUE(WriteFileAtomically(Path("a"), "1").ok());
  struct stat info;
  ASSERT_EQ(::stat(Path("a").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0644u);
}

// A reader that opens the file at any time sees one of the two contents, whole.
TEST_F(FileTest, ReadersNeverSeeAPart) {
  const std::string old_bytes(100'000, 'o');
  const std::string new_bytes(200'000, 'n');
  ASSERT_TRUE(WriteFileAtomically(Path("a"), old_bytes).ok());
  std::atomic<bool> done = false;
  std::thread writer([&] {
    for (int i = 0; i < 30; ++i) {
      EXPECT_TRUE(WriteFileAtomically(Path("a"), i % 2 == 0 ? new_bytes : old_bytes).ok());
    }
    done = true;
  });
  int reads = 0;
  while (!done || reads == 0) {
    const absl::StatusOr<std::string> seen = ReadFile(Path("a"));
    ASSERT_TRUE(seen.ok()) << seen.status();
    EXPECT_TRUE(*seen == old_bytes || *seen == new_bytes) << seen->size() << " bytes";
    ++reads;
  }
  writer.join();
}

TEST_F(FileTest, FailedWriteKeepsTheOldContent) {
  ASSERT_TRUE(MakeDirectories(Path("folder/inside")).ok());
  const absl::Status status = WriteFileAtomically(Path("folder"), "1");
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(Message(status), HasSubstr(Path("folder")));
  EXPECT_TRUE(std::filesystem::is_directory(Path("folder/inside")));
  EXPECT_THAT(Names(), ::testing::ElementsAre("folder"));
}

TEST_F(FileTest, ErrorsNameThePathAndTheReason) {
  const absl::Status missing = ReadFile(Path("nothing")).status();
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Message(missing), AllOf(HasSubstr(Path("nothing")), HasSubstr("No such file")));
  const absl::Status folder = ReadFile(directory_.path()).status();
  EXPECT_EQ(folder.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(folder), HasSubstr("Is a directory"));
  const absl::Status nowhere = WriteFileAtomically(Path("no/folder/a"), "1");
  EXPECT_EQ(nowhere.code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(WriteFileAtomically(Path("a"), "1").ok());
  EXPECT_FALSE(MakeDirectories(Path("a/b")).ok());
}

TEST_F(FileTest, SystemErrorsHaveTheirCodes) {
  EXPECT_EQ(ErrnoToStatus(ENOSPC, "cannot write", "/x").code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ErrnoToStatus(EACCES, "cannot open", "/x").code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(ErrnoToStatus(EIO, "cannot read", "/x").code(), absl::StatusCode::kUnknown);
  EXPECT_THAT(Message(ErrnoToStatus(ENOSPC, "cannot write", "/x")),
              HasSubstr("cannot write /x: No space left"));
}

TEST_F(FileTest, ReadsFilesThatReportNoSize) {
  const absl::StatusOr<std::string> bytes = ReadFile("/proc/self/status");
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_THAT(*bytes, HasSubstr("Name:"));
}

TEST_F(FileTest, DirectoriesAreMadeOnce) {
  EXPECT_TRUE(MakeDirectories(Path("a/b/c")).ok());
  EXPECT_TRUE(MakeDirectories(Path("a/b/c")).ok());
  EXPECT_TRUE(std::filesystem::is_directory(Path("a/b/c")));
}

TEST(TempDirectoryTest, GoesWithAllItHolds) {
  std::string path;
  {
    TempDirectory directory = TempDirectory::Create("amc-test").value();
    path = directory.path();
    EXPECT_THAT(path, HasSubstr("amc-test"));
    ASSERT_TRUE(MakeDirectories(path + "/a/b").ok());
    ASSERT_TRUE(WriteFileAtomically(path + "/a/b/c", "1").ok());
    const TempDirectory moved = std::move(directory);
    EXPECT_EQ(moved.path(), path);
    EXPECT_TRUE(std::filesystem::exists(path));
  }
  EXPECT_FALSE(std::filesystem::exists(path));
}

}  // namespace
}  // namespace amc
