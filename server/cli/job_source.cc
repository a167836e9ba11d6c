#include "server/cli/job_source.h"

#include <CLI/CLI.hpp>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/cli/exit_status.h"

namespace amc {
namespace {

absl::StatusOr<std::string> NewestJob(Client& client, const std::string& folder) {
  v1::ListJobsRequest request;
  request.set_page_size(1);
  AMC_ASSIGN_OR_RETURN(const v1::ListJobsResponse newest,
                       client.Call(client.jobs(), &v1::JobService::Stub::ListJobs, request));
  if (newest.jobs().empty()) return absl::NotFoundError(absl::StrCat(folder, " holds no job yet"));
  return newest.jobs(0).id();
}

}  // namespace

void AddJobSourceFlags(CLI::App& app, JobSourceFlags& flags) {
  app.add_option("JOB", flags.job, "The job's id; with --dir the newest one unless given");
  app.add_option("--dir", flags.folder,
                 "Read the folder of an `amc run` instead of asking a server");
  AddClientFlags(app, flags.client);
}

absl::StatusOr<std::unique_ptr<JobSource>> JobSource::Open(const JobSourceFlags& flags) {
  if (flags.folder.empty() && flags.job.empty()) return UsageError("JOB or --dir is required");
  AMC_ASSIGN_OR_RETURN(std::unique_ptr<JobSource> source, OpenAll(flags));
  source->job_ = flags.job;
  if (flags.job.empty()) {
    AMC_ASSIGN_OR_RETURN(source->job_, NewestJob(source->client(), flags.folder));
  }
  return source;
}

absl::StatusOr<std::unique_ptr<JobSource>> JobSource::OpenAll(const JobSourceFlags& flags) {
  auto source = std::unique_ptr<JobSource>(new JobSource());
  if (!flags.folder.empty()) {
    AMC_RETURN_IF_ERROR(source->OpenFolder(flags.folder));
    return source;
  }
  AMC_ASSIGN_OR_RETURN(source->connection_, Client::Connect(flags.client));
  source->client_ = source->connection_.get();
  return source;
}

absl::Status JobSource::OpenFolder(const std::string& folder) {
  server_ = std::make_unique<PrivateServer>(folder);
  std::error_code error;
  if (!std::filesystem::is_directory(server_->data_folder(), error)) {
    return WithHint(absl::NotFoundError(absl::StrCat(folder, " is not the folder of a run: ",
                                                     server_->data_folder(), " is missing")),
                    "It is what `amc run -o` names.");
  }
  absl::Status started = server_->Start();
  if (absl::IsFailedPrecondition(started)) {
    ClientFlags run;  // that has the folder's lock
    run.channel.address = server_->default_address();
    absl::StatusOr<std::unique_ptr<Client>> connection = Client::Connect(run);
    if (!connection.ok()) return started;
    connection_ = *std::move(connection);
    client_ = connection_.get();
  } else {
    AMC_RETURN_IF_ERROR(started);
    client_ = &server_->client();
  }
  return absl::OkStatus();
}

}  // namespace amc
