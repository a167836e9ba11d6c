// Where a command that only reads finds its job: on a server, or in the folder of an `amc run`.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/cli/client.h"
#include "server/cli/private_server.h"

namespace CLI {
class App;
}  // namespace CLI

namespace amc {

struct JobSourceFlags {
  ClientFlags client;
  std::string job, folder;
};

// JOB, --dir and the flags of a client.
void AddJobSourceFlags(CLI::App& app, JobSourceFlags& flags);

// A job that can be asked for. One thread.
class JobSource {
 public:
  // Without a folder, the job JOB on the server that the flags name; neither is a UsageError. With
  // one, JOB or the folder's newest job, on a server that lives as long as this, or on that of the
  // run under way there. NotFound when the folder is no run's or holds no job; otherwise as
  // Client::Connect and PrivateServer::Start.
  static absl::StatusOr<std::unique_ptr<JobSource>> Open(const JobSourceFlags& flags);

  // The same for all jobs there, none of them in particular; `job` is not looked at.
  static absl::StatusOr<std::unique_ptr<JobSource>> OpenAll(const JobSourceFlags& flags);

  Client& client() { return *client_; }
  const std::string& job() const { return job_; }

 private:
  JobSource() = default;
  absl::Status OpenFolder(const std::string& folder);

  std::string job_;
  std::unique_ptr<PrivateServer> server_;
  std::unique_ptr<Client> connection_;  // to a server that is not ours
  Client* client_ = nullptr;
};

}  // namespace amc
