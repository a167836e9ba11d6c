// How a server bears many workers: one job of many evaluations, then many workers with nothing to
// do.
//
//   build/release/bin/server_load [WORKERS] [EVALUATIONS] [IDLE]     (200 50000 1000)
//
// The server is a process of its own (amc-engine serve, beside this binary) on a TCP port; a worker
// is a thread with a connection of its own that answers every lease at once. Goals on two cores: no
// evaluation lost or doubled, 1,000 completions a second, 99% of the calls answered within 50 ms,
// 300 MB for 1,000 idle workers.
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "grpcpp/create_channel.h"
#include "server/rpc/channel.h"
#include "tests/server/server_fixture.h"

namespace amc {
namespace {

double Seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// A connection of its own: channels to one address share theirs otherwise.
std::shared_ptr<grpc::Channel> Connect(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

class ServerProcess {
 public:
  explicit ServerProcess(const std::string& engine) {
    int out[2];
    AMC_CHECK(pipe(out) == 0) << std::strerror(errno);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    posix_spawn_file_actions_addopen(&actions, 2, (folder_.path() + "/log").c_str(),
                                     O_WRONLY | O_CREAT, 0644);
    posix_spawn_file_actions_addclose(&actions, out[0]);
    const std::string data = folder_.path() + "/data";
    const char* argv[] = {engine.c_str(),  "serve",      "--address", "127.0.0.1:0",
                          "--data-folder", data.c_str(), nullptr};
    AMC_CHECK(posix_spawn(&pid_, engine.c_str(), &actions, nullptr, const_cast<char**>(argv),
                          environ) == 0)
        << engine << ": " << std::strerror(errno);
    close(out[1]);
    FILE* const lines = fdopen(out[0], "r");
    char line[256] = {};
    AMC_CHECK(std::fgets(line, sizeof(line), lines) != nullptr) << "the server did not start";
    address_ = std::string(line).substr(std::strlen("listening on "));
    address_.pop_back();
    std::fclose(lines);
  }
  ~ServerProcess() {
    kill(pid_, SIGTERM);
    waitpid(pid_, nullptr, 0);
  }
  const std::string& address() const { return address_; }

  // A number of /proc/PID/status, in kB.
  int64_t Status(const char* name) const {
    std::string text = *ReadFile(absl::StrCat("/proc/", pid_, "/status"));
    const size_t at = text.find(absl::StrCat("\n", name, ":"));
    return std::strtoll(text.c_str() + at + std::strlen(name) + 2, nullptr, 10);
  }
  double CpuSeconds() const {
    const std::string text = *ReadFile(absl::StrCat("/proc/", pid_, "/stat"));
    long user = 0, system = 0;
    std::sscanf(text.c_str() + text.rfind(')'),
                ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %ld %ld", &user, &system);
    return static_cast<double>(user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
  }

 private:
  TempDirectory folder_ = *TempDirectory::Create("amc_server_load");
  pid_t pid_ = 0;
  std::string address_;
};

// A worker that needs no time, and times its completions.
class LoadWorker {
 public:
  LoadWorker(const std::string& address, int number)
      : stub_(v1::WorkerService::NewStub(Connect(address))),
        uuid_(absl::StrCat("worker-", number)),
        thread_([this] { Run(); }) {}
  ~LoadWorker() {
    Stop();
    thread_.join();
  }
  void Stop() { stop_ = true; }  // within a second
  bool ready() const { return ready_; }
  // After the destructor's join, or while no job runs.
  const std::vector<double>& seconds() const { return seconds_; }

 private:
  void Run() {
    const v1::RegisterWorkerRequest request = FakeIdentity(uuid_);
    v1::RegisterWorkerResponse response;
    grpc::ClientContext context;
    context.set_wait_for_ready(true);
    const grpc::Status status = stub_->RegisterWorker(&context, request, &response);
    AMC_CHECK(status.ok()) << status.error_message();
    session_ = response.session();
    ready_ = true;
    for (int64_t asked = 0; !stop_; ++asked) Ask(asked);
  }

  void Ask(int64_t asked) {
    v1::LeaseTaskRequest request;
    request.set_session(session_);
    request.set_request_id(absl::StrCat(uuid_, "-", asked));
    request.set_wait_ms(1000);
    v1::LeaseTaskResponse response;
    grpc::ClientContext context;
    if (!stub_->LeaseTask(&context, request, &response).ok()) return;
    if (!response.has_lease()) {
      v1::HeartbeatRequest beat;
      beat.set_session(session_);
      v1::HeartbeatResponse answer;
      grpc::ClientContext beat_context;
      stub_->Heartbeat(&beat_context, beat, &answer);
      return;
    }
    v1::CompleteTaskRequest complete;
    complete.set_session(session_);
    complete.mutable_lease()->set_job(response.lease().job());
    complete.mutable_lease()->set_task(response.lease().task());
    complete.mutable_lease()->set_epoch(response.lease().epoch());
    *complete.mutable_result() = std::get<v1::TaskResult>(*FakeWorker::Measure(response.lease()));
    v1::CompleteTaskResponse completed;
    grpc::ClientContext complete_context;
    const double start = Seconds();
    const grpc::Status status = stub_->CompleteTask(&complete_context, complete, &completed);
    seconds_.push_back(Seconds() - start);
    AMC_CHECK(status.ok()) << status.error_message();
  }

  const std::unique_ptr<v1::WorkerService::Stub> stub_;
  const std::string uuid_;
  std::string session_;
  std::vector<double> seconds_;
  std::atomic<bool> ready_ = false, stop_ = false;
  std::thread thread_;
};

struct Workers : std::vector<std::unique_ptr<LoadWorker>> {
  Workers() = default;
  Workers(Workers&&) = default;
  ~Workers() {
    for (const auto& worker : *this) worker->Stop();  // all, before the first is waited for
  }
};

Workers Start(const std::string& address, int count) {
  Workers workers;
  for (int i = 0; i < count; ++i) {
    workers.push_back(std::make_unique<LoadWorker>(address, i));
  }
  for (const auto& worker : workers) {
    while (!worker->ready()) absl::SleepFor(absl::Milliseconds(5));
  }
  return workers;
}

// Runs one job to its end; the seconds it took. Checks that every episode is there once.
double RunJob(const std::string& address, int64_t workers, int64_t evaluations) {
  const auto channel = Connect(address);
  const auto artifacts = v1::ArtifactService::NewStub(channel);
  const auto jobs = v1::JobService::NewStub(channel);
  v1::SubmitJobRequest submit;
  submit.set_request_id("load");
  submit.mutable_spec()->set_model(UploadBytes(*artifacts, TestModel(), v1::ARTIFACT_KIND_MODEL));
  submit.mutable_spec()->set_data(UploadBytes(*artifacts, TestPack(), v1::ARTIFACT_KIND_DATA));
  submit.mutable_spec()->mutable_budget()->set_ratio(0.5);
  submit.mutable_spec()->mutable_search()->set_agent("random");
  submit.mutable_spec()->mutable_search()->set_episodes(evaluations);
  submit.mutable_spec()->set_reuse(false);
  submit.mutable_spec()->mutable_search()->set_parallel_episodes(2 * workers);
  v1::Job job;
  const double start = Seconds();
  {
    grpc::ClientContext context;
    const grpc::Status status = jobs->SubmitJob(&context, submit, &job);
    AMC_CHECK(status.ok()) << status.error_message();
  }
  v1::GetJobRequest get;
  get.set_id(job.id());
  while (job.state() != v1::JOB_STATE_SUCCEEDED) {
    AMC_CHECK(job.state() != v1::JOB_STATE_FAILED) << job.message();
    absl::SleepFor(absl::Milliseconds(20));
    grpc::ClientContext context;
    AMC_CHECK(jobs->GetJob(&context, get, &job).ok()) << "get job";
  }
  const double seconds = Seconds() - start;
  v1::ListEpisodesRequest list;
  list.set_job(job.id());
  list.set_page_size(1000);
  int64_t expected = 0;
  do {
    grpc::ClientContext context;
    v1::ListEpisodesResponse page;
    AMC_CHECK(jobs->ListEpisodes(&context, list, &page).ok()) << "list";
    for (const v1::Episode& episode : page.episodes()) {
      AMC_CHECK(episode.number() == expected) << episode.number() << " instead of " << expected;
      AMC_CHECK(episode.attempts() == 1) << "episode " << expected << " took another attempt";
      ++expected;
    }
    list.set_page_token(page.next_page_token());
  } while (!list.page_token().empty());
  AMC_CHECK(expected == evaluations) << expected << " episodes of " << evaluations;
  return seconds;
}

void Main(const std::string& engine, int workers, int64_t evaluations, int idle) {
  ServerProcess server(engine);
  {
    Workers busy = Start(server.address(), workers);
    const double cpu = server.CpuSeconds();
    const double seconds = RunJob(server.address(), workers, evaluations);
    std::vector<double> latencies;
    for (const auto& worker : busy) {
      latencies.insert(latencies.end(), worker->seconds().begin(), worker->seconds().end());
    }
    std::sort(latencies.begin(), latencies.end());
    const auto quantile = [&](double q) {
      return 1000 * latencies[static_cast<size_t>(q * static_cast<double>(latencies.size() - 1))];
    };
    std::printf("%d workers, %ld evaluations: each there once\n", workers,
                static_cast<long>(evaluations));
    std::printf("completions a second   %8.0f\n", static_cast<double>(evaluations) / seconds);
    std::printf("CompleteTask, median   %8.1f ms\n", quantile(0.5));
    std::printf("CompleteTask, 99%%      %8.1f ms\n", quantile(0.99));
    std::printf("server's CPU           %8.1f s of %.1f s\n", server.CpuSeconds() - cpu, seconds);
  }
  ServerProcess quiet(engine);
  const int64_t before = quiet.Status("VmRSS");
  const Workers waiting = Start(quiet.address(), idle);
  absl::SleepFor(absl::Seconds(5));
  std::printf("%d idle workers         %7.0f MB above %.0f MB\n", idle,
              static_cast<double>(quiet.Status("VmRSS") - before) / 1024,
              static_cast<double>(before) / 1024);
}

}  // namespace
}  // namespace amc

int main(int argc, char** argv) {
  const auto number = [&](int i, int64_t otherwise) {
    return i < argc ? std::strtoll(argv[i], nullptr, 10) : otherwise;
  };
  const std::string path = argv[0];
  const std::string folder = path.substr(0, path.find_last_of('/') + 1);
  amc::SetMinLogSeverity(amc::LogSeverity::kWarning);
  amc::Main(folder + "amc-engine", static_cast<int>(number(1, 200)), number(2, 50'000),
            static_cast<int>(number(3, 1000)));
  return 0;
}
