// A connection to the server: stubs, one way to call, artifacts up and down.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "amc/v1/admin.grpc.pb.h"
#include "amc/v1/artifact.grpc.pb.h"
#include "amc/v1/job.grpc.pb.h"
#include "amc/v1/latency.grpc.pb.h"
#include "amc/v1/worker.grpc.pb.h"
#include "base/mutex.h"
#include "grpcpp/client_context.h"
#include "server/rpc/channel.h"
#include "server/rpc/status_convert.h"

namespace CLI {
class App;
}  // namespace CLI

namespace amc {

// Where the server is and how to prove who asks.
struct ClientFlags {
  ChannelOptions channel;
  double timeout = 5;  // seconds to connect
  absl::Duration call_timeout = absl::Minutes(2);
};

// --server ($AMC_SERVER), --token ($AMC_TOKEN), --tls-ca, --connect-timeout.
void AddClientFlags(CLI::App& app, ClientFlags& flags);

// Thread-safe. Errors of the server keep their code and message; Unavailable means that it cannot
// be reached.
class Client {
 public:
  static absl::StatusOr<std::unique_ptr<Client>> Connect(const ClientFlags& flags);

  // Cancels the calls under way and refuses those to come, which all are Cancelled then.
  void CancelCalls();

  // A call under way, for CancelCalls to find. Calls that are not made through this class need one.
  class CallScope {
   public:
    CallScope(Client& client, grpc::ClientContext& context);
    ~CallScope();
    CallScope(const CallScope&) = delete;
    CallScope& operator=(const CallScope&) = delete;
    bool may_begin() const { return may_begin_; }

   private:
    Client& client_;
    grpc::ClientContext& context_;
    bool may_begin_ = false;
  };

  v1::JobService::Stub& jobs() { return *jobs_; }
  v1::WorkerService::Stub& workers() { return *workers_; }
  v1::ArtifactService::Stub& artifacts() { return *artifacts_; }
  v1::AdminService::Stub& admin() { return *admin_; }
  v1::LatencyService::Stub& latency() { return *latency_; }

  // Calls a unary method: client.Call(&client.jobs(), &v1::JobService::Stub::GetJob, request).
  template <typename Stub, typename Request, typename Response>
  absl::StatusOr<Response> Call(Stub& stub,
                                grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                             Response*),
                                const Request& request) {
    grpc::ClientContext context;
    SetDeadline(context);
    const CallScope scope(*this, context);
    if (!scope.may_begin()) return absl::CancelledError("interrupted");
    Response response;
    const absl::Status status = Check((stub.*method)(&context, request, &response));
    if (!status.ok()) return status;
    return response;
  }

  absl::StatusOr<v1::Job> GetJob(const std::string& id);
  absl::StatusOr<v1::GetBestResponse> GetBest(const std::string& job);

  // Waits until the server answers again after a lost connection.
  absl::Status Reconnect();
  // An RPC's status as ours, with a hint where the server cannot be reached.
  absl::Status Check(const grpc::Status& status) const;

  // Makes sure that the server has the file's bytes, whole, and knows that they are used; returns
  // their digest. They are sent only where it lacks them.
  absl::StatusOr<std::string> Upload(const std::string& path, v1::ArtifactKind kind);
  // Fetches the artifact into `temporary`, verifies its digest, renames it to `path`; `progress` is
  // told how many bytes are there. Without `temporary` it is a name beside `path`.
  absl::Status Download(const std::string& digest, const std::string& path,
                        const std::string& temporary = "",
                        const std::function<void(int64_t bytes)>& progress = nullptr);
  // All artifacts that the server has, by digest.
  absl::StatusOr<std::vector<v1::Artifact>> ListArtifacts();
  // Who is there, or, unless `present`, ever was.
  absl::StatusOr<std::vector<v1::Worker>> ListWorkers(bool present);

 private:
  Client(std::shared_ptr<grpc::Channel> channel, const ClientFlags& flags);
  void SetDeadline(grpc::ClientContext& context) const;
  // Uploads the header and, unless `path` is empty, that file's bytes.
  absl::Status Send(const v1::Artifact& header, const std::string& path);

  std::shared_ptr<grpc::Channel> channel_;
  ClientFlags flags_;
  Mutex mutex_;
  std::set<grpc::ClientContext*> calls_ ABSL_GUARDED_BY(mutex_);
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  std::unique_ptr<v1::JobService::Stub> jobs_;
  std::unique_ptr<v1::WorkerService::Stub> workers_;
  std::unique_ptr<v1::ArtifactService::Stub> artifacts_;
  std::unique_ptr<v1::AdminService::Stub> admin_;
  std::unique_ptr<v1::LatencyService::Stub> latency_;
};

}  // namespace amc
