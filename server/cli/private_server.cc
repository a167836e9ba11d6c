#include "server/cli/private_server.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "server/cli/engine.h"

namespace amc {
namespace {

constexpr absl::Duration kStartPatience = absl::Seconds(60);
constexpr absl::Duration kStopPatience = absl::Seconds(3);

// The engine's environment, without what is meant for another server.
std::vector<std::string> ChildEnvironment(int threads) {
  std::vector<std::string> environment = EngineEnvironment(threads);
  std::erase_if(environment, [](const std::string& variable) {
    return absl::StartsWith(variable, "AMC_TOKEN=") || absl::StartsWith(variable, "AMC_SERVER=");
  });
  return environment;
}

}  // namespace

// Held as long as it lives, so that two do not work in one folder.
class PrivateServer::FolderLock {
 public:
  static absl::StatusOr<std::unique_ptr<FolderLock>> Take(const std::string& path) {
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) return ErrnoToStatus(errno, "cannot open", path);
    auto lock = std::unique_ptr<FolderLock>(new FolderLock(fd));
    if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
      return absl::FailedPreconditionError(
          absl::StrCat(path, ": another `amc run` is working in this folder"));
    }
    return lock;
  }
  ~FolderLock() { ::close(fd_); }

 private:
  explicit FolderLock(int fd) : fd_(fd) {}
  const int fd_;
};

PrivateServer::PrivateServer(const std::string& folder) {
  std::error_code error;
  folder_ = std::filesystem::absolute(folder, error).lexically_normal().string();
}

PrivateServer::~PrivateServer() { Stop(); }

absl::Status PrivateServer::Start() {
  AMC_RETURN_IF_ERROR(MakeDirectories(state_folder()));
  AMC_RETURN_IF_ERROR(MakeDirectories(log_folder()));
  AMC_ASSIGN_OR_RETURN(lock_, FolderLock::Take(state_folder() + "/lock"));
  address_ = default_address();
  if (!CheckAddress(address_).ok()) {
    AMC_ASSIGN_OR_RETURN(socket_folder_, TempDirectory::Create("amc-run"));
    address_ = absl::StrCat("unix:", socket_folder_->path(), "/socket");
  }
  AMC_RETURN_IF_ERROR(StartProcess(
      "server", "server", 1, {"serve", "--address", address_, "--data-folder", data_folder()}));
  return Connect();
}

absl::Status PrivateServer::StartWorker(int64_t number, int threads) {
  return StartProcess(
      absl::StrCat("worker ", number), absl::StrCat("worker-", number), threads,
      {"worker", "--server", address_, "--threads", absl::StrCat(threads), "--cache",
       state_folder() + "/cache", "--artifacts", data_folder() + "/artifacts"});
}

void PrivateServer::Stop() {
  tree_.OnStop(nullptr);
  client_.reset();
  tree_.Stop(kStopPatience);
}

absl::Status PrivateServer::StartProcess(const std::string& name, const std::string& log,
                                         int threads, std::vector<std::string> arguments) {
  AMC_ASSIGN_OR_RETURN(std::string engine, FindEngine());
  arguments.insert(arguments.begin(), std::move(engine));
  return tree_.Start({.name = name,
                      .arguments = std::move(arguments),
                      .environment = ChildEnvironment(threads),
                      .log_path = absl::StrCat(log_folder(), "/", log, ".log")});
}

absl::Status PrivateServer::Connect() {
  ClientFlags flags;
  flags.channel.address = address_;
  flags.timeout = 0.25;
  const absl::Time deadline = absl::Now() + kStartPatience;
  while (true) {
    absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(flags);
    AMC_RETURN_IF_ERROR(tree_.status());
    if (client.ok()) {
      client_ = *std::move(client);
      return absl::OkStatus();
    }
    if (absl::Now() > deadline) {
      return absl::InternalError(
          absl::StrCat("the server does not answer; its log is ", log_folder(), "/server.log"));
    }
  }
}

}  // namespace amc
