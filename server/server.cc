#include "server/server.h"

#include <csignal>

#include <atomic>
#include <chrono>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "grpcpp/ext/proto_server_reflection_plugin.h"
#include "grpcpp/health_check_service_interface.h"
#include "grpcpp/server_builder.h"
#include "server/admin_service.h"
#include "server/artifact_catalog.h"
#include "server/artifact_service.h"
#include "server/credentials.h"
#include "server/environment_service.h"
#include "server/job_manager.h"
#include "server/job_service.h"
#include "server/latency_service.h"
#include "server/listen.h"
#include "server/model_cache.h"
#include "server/rpc/channel.h"
#include "server/rpc/latency_convert.h"
#include "server/stream_guard.h"
#include "server/worker_service.h"
#include "storage/artifact_store.h"
#include "storage/store.h"

namespace amc {
namespace {

// No request needs more: artifacts come in chunks of 1 MiB.
constexpr int kMaxRequestBytes = 8 << 20;
constexpr absl::Duration kTick = absl::Milliseconds(200);
constexpr int kTicksBetweenReports = 15;      // 3 s
constexpr int kTicksBetweenCleanings = 1500;  // 5 min
constexpr absl::Duration kWorkerHistory = absl::Hours(7 * 24);
// A connection that does not get to speak HTTP/2 within this time is closed.
constexpr int kHandshakeTimeoutMs = 20'000;
// A peer that has gone without a word is found out by pings.
constexpr int kKeepaliveTimeMs = 60'000, kKeepaliveTimeoutMs = 20'000, kMinPingIntervalMs = 5'000;

// Stored latency tables, by digest.
ModelCache::LatencyTables TablesOf(Store* store) {
  return [store](const std::string& digest) -> absl::StatusOr<LatencyTable> {
    AMC_ASSIGN_OR_RETURN(const v1::LatencyTable table, store->GetLatencyTable(digest));
    return FromProto(table);
  };
}

}  // namespace

// Members are destroyed in reverse order: what is used stands before its users.
struct Server::Parts {
  std::string address;
  std::unique_ptr<Store> store;
  std::unique_ptr<ArtifactStore> artifacts;
  std::unique_ptr<ArtifactCatalog> catalog;
  std::unique_ptr<StreamGuard> streams;
  std::unique_ptr<StreamGuard>
      environment_streams;  // whose clients may think for as long as theirs
  EventHub hub;
  std::unique_ptr<ModelCache> models;
  std::unique_ptr<TaskBoard> board;
  std::unique_ptr<WorkerRegistry> registry;
  std::unique_ptr<JobManager> jobs;
  std::unique_ptr<JobServiceImpl> job_service;
  std::unique_ptr<WorkerServiceImpl> worker_service;
  std::unique_ptr<ArtifactServiceImpl> artifact_service;
  std::unique_ptr<EnvironmentServiceImpl> environment_service;
  std::unique_ptr<AdminServiceImpl> admin_service;
  std::unique_ptr<LatencyServiceImpl> latency_service;
  std::unique_ptr<grpc::Server> server;
  absl::Notification stop;
  std::thread timer;
  std::atomic<bool> down = false;

  void Tick() {
    for (int tick = 1; !stop.WaitForNotificationWithTimeout(kTick); ++tick) {
      board->ExpireLeases();
      for (const std::string& worker : registry->MarkLost()) board->ForgetWorker(worker);
      if (tick % kTicksBetweenReports == 0) board->ReportStarved(registry->Present());
      streams->CancelIdle();
      environment_streams->CancelIdle();
      environment_service->CloseIdle();
      if (tick % kTicksBetweenCleanings == 0) Clean();
    }
  }

  // Forgets what nobody needs.
  void Clean() {
    absl::Status status = catalog->Collect();
    std::set<std::string> present;
    for (const WorkerView& worker : registry->Present()) present.insert(worker.uuid);
    status.Update(
        store->DropWorkers(absl::ToUnixMillis(Clock::System()->Now() - kWorkerHistory), present));
    if (!status.ok()) AMC_LOG(kWarning) << "cleaning up: " << status;
  }
};

Server::Server(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

Server::~Server() { Shutdown(); }

const std::string& Server::address() const { return parts_->address; }

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const ServerOptions& options) {
  AMC_RETURN_IF_ERROR(CheckAddress(options.address));
  AMC_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::ServerCredentials> credentials,
                       MakeServerCredentials(options));
  AMC_RETURN_IF_ERROR(CheckAddressFree(options.address));
  AMC_RETURN_IF_ERROR(MakeDirectories(options.data_folder));

  auto parts = std::make_unique<Parts>();
  const Clock* const clock = Clock::System();
  AMC_ASSIGN_OR_RETURN(parts->store, OpenSqliteStore(options.data_folder + "/amc.db"));
  AMC_ASSIGN_OR_RETURN(parts->artifacts, ArtifactStore::Open(options.data_folder + "/artifacts"));
  parts->catalog = std::make_unique<ArtifactCatalog>(
      parts->artifacts.get(), parts->store.get(), clock,
      ArtifactCatalogOptions{.quota_bytes = options.disk_quota_bytes,
                             .unused_for = options.artifact_unused});
  AMC_RETURN_IF_ERROR(parts->catalog->RemoveStrays());
  parts->streams = std::make_unique<StreamGuard>(clock, options.max_streams, options.stream_idle);
  parts->environment_streams =
      std::make_unique<StreamGuard>(clock, options.max_streams, options.environment_idle);
  parts->models =
      std::make_unique<ModelCache>(parts->artifacts.get(), TablesOf(parts->store.get()));
  parts->board = std::make_unique<TaskBoard>(
      parts->store.get(), &parts->hub, clock,
      TaskBoardOptions{.lease_term = options.lease_term, .backoff = options.backoff});
  parts->registry = std::make_unique<WorkerRegistry>(parts->store.get(), clock, options.lease_term);
  const JobContext context{.store = parts->store.get(),
                           .artifacts = parts->artifacts.get(),
                           .catalog = parts->catalog.get(),
                           .models = parts->models.get(),
                           .board = parts->board.get(),
                           .workers = parts->registry.get(),
                           .hub = &parts->hub,
                           .clock = clock};
  parts->jobs =
      std::make_unique<JobManager>(context, options.max_running_jobs, options.max_unfinished_jobs);
  parts->job_service =
      std::make_unique<JobServiceImpl>(context, parts->jobs.get(), parts->streams.get());
  parts->worker_service = std::make_unique<WorkerServiceImpl>(
      parts->registry.get(), parts->board.get(), parts->store.get(), options.heartbeat);
  parts->artifact_service = std::make_unique<ArtifactServiceImpl>(
      parts->catalog.get(), parts->store.get(), parts->streams.get());
  parts->admin_service =
      std::make_unique<AdminServiceImpl>(AdminContext{.store = parts->store.get(),
                                                      .catalog = parts->catalog.get(),
                                                      .jobs = parts->jobs.get(),
                                                      .board = parts->board.get(),
                                                      .registry = parts->registry.get(),
                                                      .streams = parts->streams.get(),
                                                      .clock = clock,
                                                      .data_folder = options.data_folder});
  parts->environment_service = std::make_unique<EnvironmentServiceImpl>(
      parts->models.get(), parts->environment_streams.get(), clock, options.max_environments,
      options.environment_idle);
  parts->latency_service = std::make_unique<LatencyServiceImpl>(parts->store.get(), clock);

  // Leases that were open when the last server went get a fresh term, so that their workers can
  // take them up by heartbeat.
  AMC_RETURN_IF_ERROR(
      parts->store->ExtendOpenLeases(absl::ToUnixMillis(clock->Now() + options.lease_term)));
  AMC_RETURN_IF_ERROR(parts->jobs->TakeUp());

  static const bool plugins = [] {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    return true;
  }();
  static_cast<void>(plugins);
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(options.address, credentials, &port);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);  // a second server must not share it
  builder.SetMaxReceiveMessageSize(kMaxRequestBytes);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, kHandshakeTimeoutMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveTimeMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             kMinPingIntervalMs);
  builder.RegisterService(parts->job_service.get());
  builder.RegisterService(parts->worker_service.get());
  builder.RegisterService(parts->artifact_service.get());
  builder.RegisterService(parts->environment_service.get());
  builder.RegisterService(parts->admin_service.get());
  builder.RegisterService(parts->latency_service.get());
  parts->server = builder.BuildAndStart();
  if (parts->server == nullptr) {
    parts->jobs->Shutdown();
    const absl::Status why = CheckAddressFree(options.address);
    return why.ok()
               ? absl::FailedPreconditionError(absl::StrCat("cannot listen on ", options.address))
               : why;
  }
  parts->address = options.address;
  if (!absl::StartsWith(options.address, "unix:")) {
    parts->address = absl::StrCat(options.address.substr(0, options.address.rfind(':')), ":", port);
  }
  Parts* const running = parts.get();
  parts->timer = std::thread([running] { running->Tick(); });
  AMC_LOG(kInfo) << "serving on " << parts->address << ", data in " << options.data_folder;
  return std::unique_ptr<Server>(new Server(std::move(parts)));
}

void Server::Shutdown() {
  if (parts_->down.exchange(true)) return;
  parts_->stop.Notify();
  parts_->timer.join();
  // Long polls and watchers return first, so that no call waits for its deadline.
  parts_->hub.Shutdown();
  parts_->jobs->Shutdown();
  parts_->server->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(5));
  parts_->server->Wait();
  AMC_LOG(kInfo) << "stopped serving on " << parts_->address;
}

absl::Status RunServer(const ServerOptions& options,
                       const std::function<void(const std::string& address)>& on_ready) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<Server> server, Server::Start(options));
  if (on_ready) on_ready(server->address());
  int signal = 0;
  sigwait(&signals, &signal);
  AMC_LOG(kInfo) << strsignal(signal) << ": shutting down";
  server->Shutdown();
  return absl::OkStatus();
}

}  // namespace amc
