// A folder that `amc serve` can go on with, copied from a server that works on.
//
//   FOLDER/amc.db                the database, as it was at one moment
//   FOLDER/artifacts/ab/abcd...  every artifact, by digest; those that are there already are kept
//   FOLDER/backup.lock           held while a backup is written
//
// The database is fetched first, so that all artifacts it names were there when they are asked for
// (one that its job's deletion removed in the meantime is skipped), and takes its name last: what
// stands in the folder is a whole backup at every moment.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/cli/client.h"

namespace amc {

struct BackupSummary {
  int64_t database_bytes = 0;
  int64_t artifacts = 0;  // in the folder that the server has
  int64_t copied = 0, copied_bytes = 0;
  absl::Status damaged;  // DataLoss if the server's own copy of one is: the others were copied
};

// Makes the folder or brings an earlier backup in it up to date, with progress on stderr; cut off,
// it goes on where it was when called again. FailedPrecondition if a server uses the folder or ever
// has, or another backup is being written to it; otherwise as the server and the disk have it.
absl::StatusOr<BackupSummary> BackUp(Client& client, const std::string& folder);

}  // namespace amc
