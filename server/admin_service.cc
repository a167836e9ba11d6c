#include "server/admin_service.h"

#include <filesystem>
#include <fstream>
#include <memory>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/rpc/channel.h"
#include "server/rpc/random_hex.h"
#include "server/rpc/status_convert.h"

namespace amc {
namespace {

constexpr size_t kChunk = size_t{1} << 20;

// Of the database and its log, as far as they are there.
int64_t DatabaseBytes(const std::string& folder) {
  int64_t bytes = 0;
  for (const char* name : {"/amc.db", "/amc.db-wal"}) {
    std::error_code error;
    const auto size = std::filesystem::file_size(folder + name, error);
    if (!error) bytes += static_cast<int64_t>(size);
  }
  return bytes;
}

// A file that goes with its owner.
class ScratchFile {
 public:
  explicit ScratchFile(std::string path) : path_(std::move(path)) {}
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;
  ~ScratchFile() {
    std::error_code error;
    std::filesystem::remove(path_, error);
  }
  const std::string& path() const { return path_; }

 private:
  const std::string path_;
};

}  // namespace

grpc::Status AdminServiceImpl::GetServerStatus(grpc::ServerContext*,
                                               const v1::GetServerStatusRequest*,
                                               v1::ServerStatus* response) {
  absl::StatusOr<v1::ServerStatus> status = Status();
  if (!status.ok()) return ToGrpcStatus(status.status());
  *response = *std::move(status);
  return grpc::Status::OK;
}

absl::StatusOr<v1::ServerStatus> AdminServiceImpl::Status() const {
  const absl::Time now = context_.clock->Now();
  v1::ServerStatus status;
  status.set_version(std::string(Version()));
  status.set_start_time_ms(absl::ToUnixMillis(start_));
  status.set_now_ms(absl::ToUnixMillis(now));
  const JobManager::Load load = context_.jobs->load();
  status.set_jobs_running(load.running);
  status.set_jobs_queued(load.queued);
  status.set_workers(context_.registry->present());
  status.set_workers_busy(context_.board->leased());
  status.set_completions(context_.registry->completions().total());
  status.set_completions_per_minute(context_.registry->completions().PerMinute(now));
  AMC_ASSIGN_OR_RETURN(const int64_t artifact_bytes, context_.catalog->Bytes());
  status.set_artifact_bytes(artifact_bytes);
  status.set_artifact_quota_bytes(context_.catalog->quota_bytes());
  status.set_database_bytes(DatabaseBytes(context_.data_folder));
  std::error_code error;
  const auto space = std::filesystem::space(context_.data_folder, error);
  if (!error) status.set_disk_free_bytes(static_cast<int64_t>(space.available));
  return status;
}

grpc::Status AdminServiceImpl::BackupDatabase(
    grpc::ServerContext* context, const v1::BackupDatabaseRequest*,
    grpc::ServerWriter<v1::BackupDatabaseResponse>* writer) {
  return ToGrpcStatus(Backup(*context, *writer));
}

absl::Status AdminServiceImpl::Backup(grpc::ServerContext& context,
                                      grpc::ServerWriter<v1::BackupDatabaseResponse>& writer) {
  AMC_ASSIGN_OR_RETURN(StreamGuard::Stream stream,
                       context_.streams->Enter(context, "BackupDatabase"));
  const ScratchFile copy(
      absl::StrCat(context_.data_folder, "/artifacts/tmp/backup-", RandomHex(16)));
  {
    const StreamGuard::Stream::Work work = stream.Working();
    AMC_RETURN_IF_ERROR(context_.store->BackupTo(copy.path()));
  }
  std::error_code error;
  v1::BackupDatabaseResponse response;
  response.set_size(static_cast<int64_t>(std::filesystem::file_size(copy.path(), error)));
  std::ifstream file(copy.path(), std::ios::binary);
  std::string buffer(kChunk, '\0');
  while (writer.Write(response)) {
    stream.Moved();
    file.read(buffer.data(), static_cast<std::streamsize>(kChunk));
    if (file.gcount() == 0) {
      return file.eof() ? absl::OkStatus()
                        : absl::DataLossError(absl::StrCat("cannot read ", copy.path()));
    }
    response.set_chunk(buffer.data(), static_cast<size_t>(file.gcount()));
  }
  return absl::CancelledError("the client went away");
}

}  // namespace amc
