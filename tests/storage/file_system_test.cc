// Network file systems are told by name; local ones pass.
#include "storage/file_system.h"

#include <unistd.h>

#include "tests/storage/store_fixture.h"

namespace amc {
namespace {

using absl::StatusCode;

// The numbers are those of statfs(2) and linux/magic.h.
TEST(FileSystemTest, NetworkFileSystemsHaveNames) {
  EXPECT_EQ(NetworkFileSystem(0x6969), "NFS");
  EXPECT_EQ(NetworkFileSystem(0x517B), "SMB");                            // smbfs
  EXPECT_EQ(NetworkFileSystem(0xFF534D42), "SMB");                        // cifs
  EXPECT_EQ(NetworkFileSystem(0xFE534D42), "SMB");                        // smb2
  EXPECT_EQ(NetworkFileSystem(static_cast<int32_t>(0xFE534D42)), "SMB");  // a narrow f_type
  EXPECT_EQ(NetworkFileSystem(0x564C), "NCP");
  EXPECT_EQ(NetworkFileSystem(0x5346414F), "AFS");
  EXPECT_EQ(NetworkFileSystem(0x6B414653), "AFS");
  EXPECT_EQ(NetworkFileSystem(0x73757245), "Coda");
  EXPECT_EQ(NetworkFileSystem(0x00C36400), "Ceph");
  EXPECT_EQ(NetworkFileSystem(0x0BD00BD0), "Lustre");
  EXPECT_EQ(NetworkFileSystem(0x47504653), "GPFS");
  EXPECT_EQ(NetworkFileSystem(0x19830326), "BeeGFS");
}

TEST(FileSystemTest, LocalOnesHaveNone) {
  constexpr int64_t kMagics[] = {
      0xEF53,      // ext2, ext3, ext4
      0x58465342,  // XFS
      0x9123683E,  // btrfs
      0x2FC12FC1,  // ZFS
      0x01021994,  // tmpfs
      0x794C7630,  // overlayfs
      0x01021997,  // 9P, as sandboxes show local disks
      0,
  };
  for (const int64_t magic : kMagics) {
    EXPECT_EQ(NetworkFileSystem(magic), "") << std::hex << magic;
  }
}

TEST(FileSystemTest, ALocalFolderPasses) {
  const TempDirectory folder = *TempDirectory::Create("amc-fs");
  EXPECT_THAT(CheckLocalFileSystem(folder.path() + "/amc.db"), IsOk());  // need not be there yet
  EXPECT_THAT(CheckLocalFileSystem("amc.db"), IsOk());                   // the current folder
}

TEST(FileSystemTest, AMissingFolderIsNamed) {
  const TempDirectory folder = *TempDirectory::Create("amc-fs");
  EXPECT_THAT(CheckLocalFileSystem(folder.path() + "/none/amc.db"),
              Fails(StatusCode::kNotFound, folder.path() + "/none"));
}

}  // namespace
}  // namespace amc
