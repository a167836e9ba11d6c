#include "server/worker/worker.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstring>
#include <optional>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/cgroup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mutex.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "env/exec/exec_options.h"
#include "env/measure/runtime.h"
#include "server/rpc/random_hex.h"
#include "server/worker/artifact_cache.h"
#include "server/worker/connection.h"
#include "server/worker/task_executor.h"

namespace amc {
namespace {

constexpr absl::Duration kPoll = absl::Seconds(20);
constexpr absl::Duration kFirstRetry = absl::Milliseconds(200);
constexpr absl::Duration kLastRetry = absl::Seconds(2);

// What this machine has, or what this process's cgroup may use of it where that is less.
int64_t MemoryBytes() {
  const int64_t bytes = int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGE_SIZE);
  const absl::StatusOr<std::string> group = ReadFile("/proc/self/cgroup");
  return group.ok() ? std::min(bytes, MemoryLimit(*group).value_or(bytes)) : bytes;
}

v1::RegisterWorkerRequest Identity(const WorkerOptions& options) {
  v1::RegisterWorkerRequest identity;
  identity.set_secret(RandomHex(64));
  identity.set_uuid(Sha256Hex(identity.secret()));
  v1::WorkerCapabilities& capabilities = *identity.mutable_capabilities();
  capabilities.set_version(std::string(Version()));
  char host[256] = {};
  if (gethostname(host, sizeof(host) - 1) == 0) capabilities.set_hostname(host);
  capabilities.add_devices(v1::DEVICE_CPU);
  if (CheckDevice(Device::kCuda).ok()) capabilities.add_devices(v1::DEVICE_CUDA);
  capabilities.set_threads(options.threads);
  capabilities.set_memory_bytes(options.memory_bytes > 0 ? options.memory_bytes : MemoryBytes());
  for (std::string& runtime : TaskExecutor::Runtimes()) {
    capabilities.add_runtimes(std::move(runtime));
  }
  capabilities.set_platform_id(TaskExecutor::PlatformId());
  capabilities.set_gpu_id(GpuId());
  capabilities.set_processor(DeviceName());
  return identity;
}

// Whether a completion that got this answer may get a better one.
bool WorthRepeating(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kResourceExhausted:  // the server's disk is full
    case absl::StatusCode::kInternal:
    case absl::StatusCode::kUnknown:
      return true;
    default:
      return false;
  }
}

}  // namespace

// All of a worker but its signals.
class Worker::Session {
 public:
  Session(const WorkerOptions& options, std::shared_ptr<grpc::Channel> channel)
      : options_(options),
        identity_(Identity(options)),
        artifact_stub_(v1::ArtifactService::NewStub(channel)),
        connection_(v1::WorkerService::NewStub(channel), identity_, options.session_fd) {}

  absl::Status OpenCache() {
    AMC_ASSIGN_OR_RETURN(cache_, ArtifactCache::Open({.folder = options_.cache_folder,
                                                      .shared_folder = options_.artifacts_folder,
                                                      .limit_bytes = options_.cache_limit_bytes,
                                                      .patience = options_.give_up_after},
                                                     artifact_stub_.get()));
    executor_ = std::make_unique<TaskExecutor>(cache_.get());
    return absl::OkStatus();
  }

  absl::Status Run() {
    std::thread heartbeat([this] { HeartbeatLoop(); });
    absl::Status status = LeaseLoop();
    {
      MutexLock lock(&mutex_);
      done_ = true;
      changed_.Signal();
    }
    heartbeat.join();
    connection_.Unregister();
    return status;
  }

  void Drain() {
    draining_ = true;
    connection_.CancelLease();
  }

  void Stop() {
    stopping_ = true;
    Drain();
    connection_.Unregister();
  }

 private:
  absl::Status LeaseLoop() {
    std::string request_id = RandomHex(32);
    while (!draining_) {
      absl::StatusOr<v1::LeaseTaskResponse> response = connection_.Lease(request_id, kPoll);
      if (response.ok()) {
        reachable();
        request_id = RandomHex(32);
        if (response->has_lease()) DoTask(response->lease());
        if (response->drain()) Drain();
        continue;
      }
      if (draining_) break;
      AMC_RETURN_IF_ERROR(connection_.refusal());
      AMC_RETURN_IF_ERROR(WaitToRetry(response.status()));
    }
    return absl::OkStatus();
  }

  void DoTask(const v1::Lease& lease) {
    v1::CompleteTaskRequest completion;
    v1::LeaseRef& ref = *completion.mutable_lease();
    ref.set_job(lease.job());
    ref.set_task(lease.task());
    ref.set_epoch(lease.epoch());
    {
      MutexLock lock(&mutex_);
      lost_ = false;
      current_.emplace();
      *current_->mutable_lease() = ref;
      changed_.Signal();  // heartbeats come more often now
    }
    const std::string what = absl::StrCat("task ", lease.task(), " of job ", lease.job());
    absl::StatusOr<v1::TaskResult> result = executor_->Execute(
        lease,
        [this](absl::string_view step, int64_t done, int64_t total) {
          MutexLock lock(&mutex_);
          current_->set_what(std::string(step));
          current_->set_done(done);
          current_->set_total(total);
        },
        [this] { return lost_ || stopping_; });
    if (lost_ || stopping_) {
      AMC_LOG(kInfo) << what << ": dropped, " << (lost_ ? "the lease is lost" : "stopping");
    } else {
      if (result.ok()) {
        *completion.mutable_result() = *std::move(result);
      } else {
        AMC_LOG(kWarning) << what << ": " << result.status();
        *completion.mutable_error() = TaskExecutor::ToTaskError(result.status());
      }
      Deliver(completion, what);
    }
    MutexLock lock(&mutex_);
    current_.reset();
  }

  // Until the server has taken the completion. A result that it refuses as invalid becomes an error
  // of the task: dropped, it would only be computed again, and refused again.
  void Deliver(v1::CompleteTaskRequest completion, const std::string& what) {
    while (!stopping_ && !lost_) {
      const absl::Status status = connection_.Complete(completion);
      if (status.ok()) {
        reachable();
        return;
      }
      if (absl::IsInvalidArgument(status) && completion.has_result()) {
        AMC_LOG(kError) << what << ": the server refuses the result: " << status;
        *completion.mutable_error() =
            TaskExecutor::ToTaskError(Annotate(status, "the server refused the result"));
        continue;
      }
      const bool session_lost = absl::IsUnauthenticated(status) && connection_.refusal().ok();
      if ((!session_lost && !WorthRepeating(status)) || !WaitToRetry(status).ok()) {
        AMC_LOG(kWarning) << what << ": result dropped: " << status;
        return;
      }
    }
  }

  void HeartbeatLoop() {
    while (true) {
      std::optional<v1::TaskProgress> progress;
      {
        const absl::Time last = absl::Now();
        MutexLock lock(&mutex_);
        while (!done_) {
          const absl::Time next = last + connection_.heartbeat_interval(current_.has_value());
          const absl::Time now = absl::Now();
          if (now >= next) break;
          changed_.WaitFor(&mutex_, next - now);
        }
        if (done_) return;
        progress = current_;
      }
      const absl::StatusOr<v1::HeartbeatResponse> response =
          connection_.Heartbeat(progress.has_value() ? &*progress : nullptr);
      if (!response.ok()) continue;  // the lease loop deals with a server that is away
      if (response->drain()) Drain();
      if (response->lost().empty()) continue;
      MutexLock lock(&mutex_);
      for (const v1::LeaseRef& ref : response->lost()) {
        if (current_.has_value() && current_->lease().job() == ref.job() &&
            current_->lease().task() == ref.task() && current_->lease().epoch() == ref.epoch()) {
          lost_ = true;
        }
      }
    }
  }

  void reachable() {
    away_since_ = absl::InfiniteFuture();
    retry_ = kFirstRetry;
  }

  // Sleeps longer each time; Unavailable once the server has been away for too long.
  absl::Status WaitToRetry(const absl::Status& why) {
    const absl::Time now = absl::Now();
    if (away_since_ == absl::InfiniteFuture()) {
      away_since_ = now;
      AMC_LOG(kWarning) << "server " << options_.server.address << ": " << why;
    }
    if (now - away_since_ >= options_.give_up_after) {
      return absl::UnavailableError(
          absl::StrCat("server ", options_.server.address, ": ", std::string(why.message())));
    }
    const absl::Time until = now + retry_;
    while (absl::Now() < until && !stopping_) absl::SleepFor(absl::Milliseconds(20));
    retry_ = std::min(2 * retry_, kLastRetry);
    return absl::OkStatus();
  }

  const WorkerOptions options_;
  const v1::RegisterWorkerRequest identity_;
  const std::unique_ptr<v1::ArtifactService::Stub> artifact_stub_;
  Connection connection_;
  std::unique_ptr<ArtifactCache> cache_;
  std::unique_ptr<TaskExecutor> executor_;

  // Of the thread that runs.
  absl::Time away_since_ = absl::InfiniteFuture();
  absl::Duration retry_ = kFirstRetry;

  std::atomic<bool> draining_ = false, stopping_ = false, lost_ = false;
  Mutex mutex_;
  CondVar changed_;
  bool done_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<v1::TaskProgress> current_ ABSL_GUARDED_BY(mutex_);
};

Worker::Worker(std::unique_ptr<Session> session) : session_(std::move(session)) {}
Worker::~Worker() = default;

absl::StatusOr<std::unique_ptr<Worker>> Worker::Create(const WorkerOptions& options) {
  AMC_ASSIGN_OR_RETURN(std::shared_ptr<grpc::Channel> channel, MakeChannel(options.server));
  auto session = std::make_unique<Session>(options, std::move(channel));
  AMC_RETURN_IF_ERROR(session->OpenCache());
  return std::unique_ptr<Worker>(new Worker(std::move(session)));
}

absl::Status Worker::Run() { return session_->Run(); }
void Worker::Drain() { session_->Drain(); }
void Worker::Stop() { session_->Stop(); }

absl::Status RunWorker(const WorkerOptions& options) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<Worker> worker, Worker::Create(options));
  std::atomic<bool> over = false;
  std::thread listener([&] {
    const timespec tick{.tv_sec = 0, .tv_nsec = 100'000'000};
    int received = 0;
    while (!over) {
      const int signal = sigtimedwait(&signals, nullptr, &tick);
      if (signal < 0) continue;
      if (++received == 1) {
        AMC_LOG(kInfo) << strsignal(signal) << ": finishing the task at hand";
        worker->Drain();
      } else {
        worker->Stop();
        _exit(130);  // the computing thread cannot be interrupted within a step
      }
    }
  });
  absl::Status status = worker->Run();
  over = true;
  listener.join();
  return status;
}

}  // namespace amc
