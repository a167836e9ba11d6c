#include "server/cli/backup.h"

#include <unistd.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <system_error>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/atomic_writer.h"
#include "base/file.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "server/cli/exit_status.h"
#include "server/cli/folder_lock.h"
#include "server/cli/format.h"
#include "server/cli/progress.h"

namespace amc {
namespace {

bool Exists(const std::string& path) {
  std::error_code error;
  return std::filesystem::exists(path, error);
}

bool IsFileOfSize(const std::string& path, int64_t size) {
  std::error_code error;
  return std::filesystem::is_regular_file(path, error) &&
         std::filesystem::file_size(path, error) == static_cast<uintmax_t>(size);
}

class Backup {
 public:
  Backup(Client& client, const std::string& folder)
      : client_(client),
        folder_(folder),
        database_(folder + "/amc.db"),
        artifacts_(folder + "/artifacts") {}

  absl::StatusOr<BackupSummary> Execute() {
    AMC_RETURN_IF_ERROR(CheckUnserved());
    AMC_RETURN_IF_ERROR(MakeDirectories(artifacts_ + "/tmp"));
    AMC_ASSIGN_OR_RETURN(
        const std::unique_ptr<FolderLock> lock,
        FolderLock::Take(folder_ + "/backup.lock", "another `amc backup` writes to this folder"));
    AMC_ASSIGN_OR_RETURN(const std::unique_ptr<AtomicWriter> database, FetchDatabase());
    AMC_RETURN_IF_ERROR(CopyArtifacts());
    AMC_RETURN_IF_ERROR(CheckUnserved());
    // Of an earlier copy that was served: they would be taken for the new one's.
    for (const char* companion : {"-wal", "-shm"}) ::unlink((database_ + companion).c_str());
    AMC_RETURN_IF_ERROR(database->Commit());
    return summary_;
  }

 private:
  // A server's own folder is never overwritten: its lock file, which the server leaves, tells.
  absl::Status CheckUnserved() const {
    const std::string path = database_ + ".lock";
    if (!Exists(path)) return absl::OkStatus();
    AMC_RETURN_IF_ERROR(WithHint(FolderLock::Take(path, "a server is using this folder").status(),
                                 "Name another folder."));
    return WithHint(
        absl::FailedPreconditionError(absl::StrCat(
            path, ": a server has used this folder, and may have stored there what no backup has")),
        absl::StrCat("Name another folder, or remove ", path, " if the backup may replace it."));
  }

  absl::StatusOr<std::unique_ptr<AtomicWriter>> FetchDatabase() {
    AMC_ASSIGN_OR_RETURN(std::unique_ptr<AtomicWriter> writer,
                         AtomicWriter::Open(database_, database_ + ".part"));
    grpc::ClientContext context;
    const Client::CallScope scope(client_, context);
    const auto reader = client_.admin().BackupDatabase(&context, v1::BackupDatabaseRequest());
    v1::BackupDatabaseResponse response;
    absl::Status written;
    EtaMeter meter;
    while (written.ok() && reader->Read(&response)) {
      if (response.payload_case() == v1::BackupDatabaseResponse::kSize) {
        summary_.database_bytes = response.size();
      } else {
        written = writer->Append(response.chunk());
      }
      line_.Show(absl::StrCat("database ", HumanBytes(writer->size()), " of ",
                              HumanBytes(summary_.database_bytes), "  ",
                              meter.Eta(writer->size(), summary_.database_bytes)));
    }
    if (!written.ok()) context.TryCancel();
    const absl::Status received = client_.Check(reader->Finish());
    AMC_RETURN_IF_ERROR(written);
    AMC_RETURN_IF_ERROR(Annotate(received, "database"));
    if (writer->size() != summary_.database_bytes) {
      return absl::DataLossError(absl::StrCat("database: ", writer->size(), " bytes came of ",
                                              summary_.database_bytes, " that were announced"));
    }
    return writer;
  }

  std::string PathOf(const v1::Artifact& artifact) const {
    return absl::StrCat(artifacts_, "/", artifact.digest().substr(0, 2), "/", artifact.digest());
  }

  absl::Status CopyArtifacts() {
    AMC_ASSIGN_OR_RETURN(const std::vector<v1::Artifact> all, client_.ListArtifacts());
    std::vector<const v1::Artifact*> missing;
    int64_t total = 0;
    for (const v1::Artifact& artifact : all) {
      if (!IsSha256Hex(artifact.digest())) {  // it becomes part of a path
        return absl::InternalError(
            absl::StrCat("the server lists an artifact \"", artifact.digest(), "\""));
      }
      if (IsFileOfSize(PathOf(artifact), artifact.size())) continue;
      missing.push_back(&artifact);
      total += artifact.size();
    }
    summary_.artifacts = static_cast<int64_t>(all.size());
    EtaMeter meter;
    int64_t before = 0;
    for (const v1::Artifact* artifact : missing) {
      const auto progress = [&](int64_t bytes) {
        line_.Show(absl::StrCat("artifacts ", summary_.copied, "/", missing.size(), ", ",
                                HumanBytes(before + bytes), " of ", HumanBytes(total), "  ",
                                meter.Eta(before + bytes, total)));
      };
      AMC_RETURN_IF_ERROR(CopyArtifact(*artifact, progress));
      before += artifact->size();
    }
    return SyncFolder(artifacts_);
  }

  // One that is gone is skipped; one that is damaged over there does not keep back the others.
  absl::Status CopyArtifact(const v1::Artifact& artifact,
                            const std::function<void(int64_t)>& progress) {
    const std::string path = PathOf(artifact);
    AMC_RETURN_IF_ERROR(MakeDirectories(std::filesystem::path(path).parent_path().string()));
    const absl::Status status = client_.Download(
        artifact.digest(), path, absl::StrCat(artifacts_, "/tmp/", artifact.digest()), progress);
    if (absl::IsNotFound(status)) {
      --summary_.artifacts;
      return absl::OkStatus();
    }
    if (absl::IsDataLoss(status)) {
      --summary_.artifacts;
      summary_.damaged.Update(status);
      return absl::OkStatus();
    }
    AMC_RETURN_IF_ERROR(status);
    ++summary_.copied;
    summary_.copied_bytes += artifact.size();
    return absl::OkStatus();
  }

  Client& client_;
  const std::string folder_, database_, artifacts_;
  ProgressLine line_;
  BackupSummary summary_;
};

}  // namespace

absl::StatusOr<BackupSummary> BackUp(Client& client, const std::string& folder) {
  return Backup(client, folder).Execute();
}

}  // namespace amc
