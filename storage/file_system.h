// Which file systems a database may lie on.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace amc {

// The name of the network file system with this magic number (statfs(2), f_type), "NFS" or "SMB";
// empty for any other.
absl::string_view NetworkFileSystem(int64_t magic);

// FailedPrecondition if the folder of `path` is on a network file system: SQLite's locks and syncs
// cannot be relied on there. NotFound if there is no such folder.
absl::Status CheckLocalFileSystem(const std::string& path);

}  // namespace amc
