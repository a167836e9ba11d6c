#include "server/cli/client.h"

#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <functional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/atomic_writer.h"
#include "base/file.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "server/cli/checks.h"
#include "server/cli/exit_status.h"

namespace amc {
namespace {

constexpr size_t kChunkBytes = 1 << 20;
constexpr int kPage = 1000;

// Hands the file's bytes to `consume` in chunks until it returns false.
absl::Status ReadInChunks(const std::string& path,
                          const std::function<bool(absl::string_view)>& consume) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return ErrnoToStatus(errno, "cannot open", path);
  std::string buffer(kChunkBytes, '\0');
  absl::Status status;
  while (true) {
    const ssize_t n = ::read(fd, buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) status = ErrnoToStatus(errno, "cannot read", path);
    if (n <= 0 || !consume(absl::string_view(buffer.data(), static_cast<size_t>(n)))) break;
  }
  ::close(fd);
  return status;
}

std::string Text(const absl::Status& status) { return std::string(status.message()); }

// The server's message with the states of a job as people read them.
absl::Status ForPeople(const absl::Status& status) {
  std::string text = Text(status);
  if (!absl::StrContains(text, "JOB_STATE_")) return status;
  const google::protobuf::EnumDescriptor& states = *v1::JobState_descriptor();
  for (int i = 0; i < states.value_count(); ++i) {
    const std::string& name = states.value(i)->name();
    const std::string shown = absl::AsciiStrToLower(name.substr(sizeof("JOB_STATE_") - 1));
    absl::StrReplaceAll({{name, shown}}, &text);
  }
  absl::Status shown(status.code(), text);
  status.ForEachPayload(
      [&](absl::string_view url, const absl::Cord& payload) { shown.SetPayload(url, payload); });
  return shown;
}

}  // namespace

void AddClientFlags(CLI::App& app, ClientFlags& flags) {
  app.add_option("--server", flags.channel.address, "The server: HOST:PORT or unix:/PATH")
      ->envname("AMC_SERVER")
      ->capture_default_str();
  app.add_option("--token", flags.channel.token, "The server's token")->envname("AMC_TOKEN");
  app.add_option("--tls-ca", flags.channel.ca_file,
                 "PEM of the authority that signed the server; without it no TLS");
  app.add_option("--connect-timeout", flags.timeout, "Seconds to wait for the server")
      ->check(Above(0))
      ->capture_default_str();
}

Client::CallScope::CallScope(Client& client, grpc::ClientContext& context)
    : client_(client), context_(context) {
  MutexLock lock(&client_.mutex_);
  may_begin_ = !client_.cancelled_;
  client_.calls_.insert(&context_);
}

Client::CallScope::~CallScope() {
  MutexLock lock(&client_.mutex_);
  client_.calls_.erase(&context_);
}

void Client::CancelCalls() {
  MutexLock lock(&mutex_);
  cancelled_ = true;
  for (grpc::ClientContext* call : calls_) call->TryCancel();
}

Client::Client(std::shared_ptr<grpc::Channel> channel, const ClientFlags& flags)
    : channel_(std::move(channel)),
      flags_(flags),
      jobs_(v1::JobService::NewStub(channel_)),
      workers_(v1::WorkerService::NewStub(channel_)),
      artifacts_(v1::ArtifactService::NewStub(channel_)),
      admin_(v1::AdminService::NewStub(channel_)),
      latency_(v1::LatencyService::NewStub(channel_)) {}

absl::StatusOr<std::unique_ptr<Client>> Client::Connect(const ClientFlags& flags) {
  absl::StatusOr<std::shared_ptr<grpc::Channel>> channel = MakeChannel(flags.channel);
  if (absl::IsInvalidArgument(channel.status())) return UsageError(channel.status().message());
  AMC_RETURN_IF_ERROR(channel.status());
  auto client = std::unique_ptr<Client>(new Client(*std::move(channel), flags));
  AMC_RETURN_IF_ERROR(client->Reconnect());
  return client;
}

absl::Status Client::Reconnect() {
  return WithHint(
      WaitForConnection(*channel_, flags_.channel.address, absl::Seconds(flags_.timeout)),
      "Start one with `amc serve`, name it with --server or AMC_SERVER, and if it speaks TLS "
      "give --tls-ca.");
}

absl::Status Client::Check(const grpc::Status& status) const {
  absl::Status converted = ForPeople(FromGrpcStatus(status));
  if (absl::IsUnavailable(converted)) {
    return WithHint(Annotate(converted, flags_.channel.address),
                    "The server went away or is another program. Try again, or see its log.");
  }
  if (absl::IsUnauthenticated(converted)) {
    return WithHint(std::move(converted), "Give the server's token with --token or AMC_TOKEN.");
  }
  if (absl::IsNotFound(converted) && absl::StrContains(Text(converted), "no job")) {
    return WithHint(std::move(converted),
                    "`amc jobs` lists the jobs, with --dir those in the folder of an `amc run`.");
  }
  return converted;
}

void Client::SetDeadline(grpc::ClientContext& context) const {
  context.set_deadline(std::chrono::system_clock::now() +
                       absl::ToChronoMilliseconds(flags_.call_timeout));
}

absl::StatusOr<v1::Job> Client::GetJob(const std::string& id) {
  v1::GetJobRequest request;
  request.set_id(id);
  return Call(jobs(), &v1::JobService::Stub::GetJob, request);
}

absl::StatusOr<v1::GetBestResponse> Client::GetBest(const std::string& job) {
  v1::GetBestRequest request;
  request.set_job(job);
  return Call(jobs(), &v1::JobService::Stub::GetBest, request);
}

absl::StatusOr<std::string> Client::Upload(const std::string& path, v1::ArtifactKind kind) {
  Sha256 hash;
  int64_t size = 0;
  AMC_RETURN_IF_ERROR(ReadInChunks(path, [&](absl::string_view chunk) {
    hash.Update(chunk);
    size += static_cast<int64_t>(chunk.size());
    return true;
  }));
  v1::Artifact header;
  header.set_digest(hash.HexDigest());
  header.set_size(size);
  header.set_kind(kind);
  header.set_name(std::filesystem::path(path).filename().string());

  v1::GetArtifactRequest known;
  known.set_digest(header.digest());
  absl::Status sent = Call(artifacts(), &v1::ArtifactService::Stub::GetArtifact, known).status();
  // The server answers a header at once where it has the bytes, noting their use. Where they are
  // damaged there it misses what should follow.
  if (sent.ok()) sent = Send(header, "");
  if (absl::IsNotFound(sent) || absl::IsInvalidArgument(sent)) sent = Send(header, path);
  AMC_RETURN_IF_ERROR(Annotate(sent, path));
  return header.digest();
}

absl::Status Client::Send(const v1::Artifact& header, const std::string& path) {
  grpc::ClientContext context;
  const CallScope scope(*this, context);
  if (!scope.may_begin()) return absl::CancelledError("interrupted");
  v1::Artifact stored;
  const auto writer = artifacts_->UploadArtifact(&context, &stored);
  v1::UploadArtifactRequest request;
  *request.mutable_header() = header;
  // A write fails once the server has ended the call; Finish says why.
  bool open = writer->Write(request);
  absl::Status read;
  if (!path.empty()) {
    read = ReadInChunks(path, [&](absl::string_view chunk) {
      request.set_chunk(chunk.data(), chunk.size());
      open = open && writer->Write(request);
      return open;
    });
  }
  if (!read.ok()) context.TryCancel();
  writer->WritesDone();
  absl::Status sent = Check(writer->Finish());
  AMC_RETURN_IF_ERROR(read);
  return sent;
}

absl::Status Client::Download(const std::string& digest, const std::string& path,
                              const std::string& temporary,
                              const std::function<void(int64_t bytes)>& progress) {
  grpc::ClientContext context;
  const CallScope scope(*this, context);
  if (!scope.may_begin()) return absl::CancelledError("interrupted");
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<AtomicWriter> writer,
                       AtomicWriter::Open(path, temporary));
  v1::DownloadArtifactRequest request;
  request.set_digest(digest);
  const auto reader = artifacts_->DownloadArtifact(&context, request);
  v1::DownloadArtifactResponse response;
  absl::Status written;
  while (written.ok() && reader->Read(&response)) {
    written = writer->Append(response.chunk());
    if (progress) progress(writer->size());
  }
  if (!written.ok()) context.TryCancel();
  const absl::Status received = Check(reader->Finish());
  AMC_RETURN_IF_ERROR(written);
  AMC_RETURN_IF_ERROR(received);
  if (const std::string got = writer->Digest(); got != digest) {
    return absl::DataLossError(
        absl::StrCat("artifact ", digest, ": the bytes received have digest ", got));
  }
  return writer->Commit();
}

absl::StatusOr<std::vector<v1::Artifact>> Client::ListArtifacts() {
  v1::ListArtifactsRequest request;
  request.set_page_size(kPage);
  std::vector<v1::Artifact> all;
  do {
    AMC_ASSIGN_OR_RETURN(const v1::ListArtifactsResponse page,
                         Call(artifacts(), &v1::ArtifactService::Stub::ListArtifacts, request));
    all.insert(all.end(), page.artifacts().begin(), page.artifacts().end());
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  return all;
}

absl::StatusOr<std::vector<v1::Worker>> Client::ListWorkers(bool present) {
  v1::ListWorkersRequest request;
  request.set_page_size(kPage);
  request.set_present(present);
  std::vector<v1::Worker> all;
  do {
    AMC_ASSIGN_OR_RETURN(const v1::ListWorkersResponse page,
                         Call(workers(), &v1::WorkerService::Stub::ListWorkers, request));
    all.insert(all.end(), page.workers().begin(), page.workers().end());
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  return all;
}

}  // namespace amc
