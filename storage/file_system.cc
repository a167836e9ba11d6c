#include "storage/file_system.h"

#include <sys/vfs.h>

#include <cerrno>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "base/file.h"

namespace amc {

absl::string_view NetworkFileSystem(int64_t magic) {
  // linux/magic.h, and the file systems' own headers for those that it leaves out. Not 9P:
  // sandboxes such as gVisor show local disks as one.
  switch (static_cast<uint32_t>(magic)) {
    case 0x6969:
      return "NFS";
    case 0x517B:
    case 0xFF534D42:
    case 0xFE534D42:
      return "SMB";
    case 0x564C:
      return "NCP";
    case 0x5346414F:
    case 0x6B414653:
      return "AFS";
    case 0x73757245:
      return "Coda";
    case 0x00C36400:
      return "Ceph";
    case 0x0BD00BD0:
      return "Lustre";
    case 0x47504653:
      return "GPFS";
    case 0x19830326:
      return "BeeGFS";
    default:
      return "";
  }
}

absl::Status CheckLocalFileSystem(const std::string& path) {
  std::string folder = std::filesystem::path(path).parent_path().string();
  if (folder.empty()) folder = ".";
  struct statfs info;
  if (statfs(folder.c_str(), &info) != 0) {
    return ErrnoToStatus(errno, "cannot look at the file system of", folder);
  }
  const absl::string_view network = NetworkFileSystem(info.f_type);
  if (network.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("database ", path, " would lie on a network file system (", network,
                   "), whose locks and syncs cannot be relied on: use a folder on a local disk"));
}

}  // namespace amc
