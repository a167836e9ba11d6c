#include "server/cli/private_server.h"

#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "server/cli/engine.h"

namespace amc {
namespace {

constexpr absl::Duration kStartPatience = absl::Seconds(60);
constexpr absl::Duration kStopPatience = absl::Seconds(3);

// The engine's environment, without what is meant for another server. Workers set their own number
// of threads.
std::vector<std::string> ChildEnvironment() {
  std::vector<std::string> environment = EngineEnvironment(1);
  std::erase_if(environment, [](const std::string& variable) {
    return absl::StartsWith(variable, "AMC_TOKEN=") || absl::StartsWith(variable, "AMC_SERVER=");
  });
  return environment;
}

}  // namespace

PrivateServer::PrivateServer(const std::string& folder) {
  std::error_code error;
  folder_ = std::filesystem::absolute(folder, error).lexically_normal().string();
}

PrivateServer::~PrivateServer() { Stop(); }

absl::Status PrivateServer::Start(int64_t jobs_at_once) {
  AMC_RETURN_IF_ERROR(MakeDirectories(state_folder()));
  AMC_RETURN_IF_ERROR(MakeDirectories(log_folder()));
  AMC_ASSIGN_OR_RETURN(lock_, FolderLock::Take(state_folder() + "/lock",
                                               "another amc command is working in this folder"));
  address_ = default_address();
  if (!CheckAddress(address_).ok()) {
    AMC_ASSIGN_OR_RETURN(socket_folder_, TempDirectory::Create("amc-run"));
    address_ = absl::StrCat("unix:", socket_folder_->path(), "/socket");
  }
  AMC_ASSIGN_OR_RETURN(std::string engine, FindEngine());
  AMC_RETURN_IF_ERROR(
      StartProcess("server", {std::move(engine), "serve", "--address", address_, "--data-folder",
                              data_folder(), "--max-running-jobs", absl::StrCat(jobs_at_once)}));
  return Connect();
}

absl::Status PrivateServer::StartWorker(int64_t number, int threads) {
  AMC_ASSIGN_OR_RETURN(std::string amc, FindProgram("amc"));
  return StartProcess(
      absl::StrCat("worker ", number),
      {std::move(amc), "worker", "--server", address_, "--threads", absl::StrCat(threads),
       "--cache", state_folder() + "/cache", "--artifacts", data_folder() + "/artifacts"},
      "--news-fd");
}

void PrivateServer::Stop() {
  tree_.OnStop(nullptr);
  client_.reset();
  tree_.Stop(kStopPatience);
}

absl::Status PrivateServer::StartProcess(const std::string& name,
                                         std::vector<std::string> arguments,
                                         const std::string& news_option) {
  const std::string log = absl::StrReplaceAll(name, {{" ", "-"}});
  return tree_.Start({.name = name,
                      .arguments = std::move(arguments),
                      .environment = ChildEnvironment(),
                      .log_path = absl::StrCat(log_folder(), "/", log, ".log"),
                      .news_option = news_option});
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
