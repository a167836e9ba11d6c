#include "server/cli/remote_lut_build.h"

#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "env/graph/onnx_import.h"
#include "server/cli/built_table_text.h"
#include "server/cli/client.h"
#include "server/cli/exit_status.h"
#include "server/cli/follow.h"
#include "server/cli/json.h"
#include "server/cli/latency_file.h"
#include "server/cli/watcher.h"
#include "server/rpc/latency_convert.h"
#include "server/rpc/random_hex.h"
#include "server/rpc/status_convert.h"

namespace amc {
namespace {

using Tables = v1::LatencyService::Stub;

v1::LatencyBuild BuildOf(const LutBuildArgs& args) {
  v1::LatencyBuild build;
  build.set_runtime(args.runtime);
  build.set_threads(args.threads);
  build.set_batch(args.batch);
  build.set_tolerance(args.tolerance);
  build.set_points(args.points);
  build.set_networks(args.networks);
  build.set_unseen(args.unseen);
  build.set_channel_multiple(args.channel_multiple);
  build.set_seed(args.seed);
  build.set_device(args.device);
  build.set_extend(args.extend);
  return build;
}

// Where the output is a table already, the server gets it, for the new one to extend.
absl::Status ImportOutput(Client& client, const LutBuildArgs& args, v1::LatencyBuild& build) {
  std::error_code error;
  if (args.output.empty() || !std::filesystem::exists(args.output, error)) return absl::OkStatus();
  if (!build.extend().empty()) {
    return UsageError(absl::StrCat("-o ", args.output,
                                   " is there already and would be extended itself: give --extend "
                                   "or an old file, not both"));
  }
  AMC_ASSIGN_OR_RETURN(const LatencyTable found, ReadLatencyFile(args.output));
  v1::ImportLatencyTableRequest request;
  *request.mutable_table() = ToProto(found);
  AMC_ASSIGN_OR_RETURN(const v1::LatencyTableInfo info,
                       client.Call(client.latency(), &Tables::ImportLatencyTable, request));
  build.set_extend(info.digest());
  return absl::OkStatus();
}

// An error about fields of the spec in the words of the command line.
absl::Status InTermsOfFlags(const absl::Status& status, const LutBuildArgs& args) {
  const std::vector<FieldViolation> violations = FieldViolations(status);
  if (violations.empty()) return status;
  std::vector<std::string> texts;
  for (const FieldViolation& violation : violations) {
    absl::string_view field = absl::StripPrefix(violation.field, "spec.");
    std::string name(field);
    if (field == "model") {
      name = args.model;
    } else if (field == "build.extend" && args.extend.empty()) {
      name = args.output;
    } else if (absl::ConsumePrefix(&field, "build.")) {
      name = absl::StrCat("--", absl::StrReplaceAll(field, {{"_", "-"}}));
    }
    texts.push_back(absl::StrCat(name, ": ", violation.description));
  }
  return absl::Status(status.code(), absl::StrJoin(texts, "; "));
}

absl::Status WriteTable(Client& client, const std::string& digest, const std::string& path) {
  v1::GetLatencyTableRequest request;
  request.set_digest(digest);
  AMC_ASSIGN_OR_RETURN(const v1::LatencyTable message,
                       client.Call(client.latency(), &Tables::GetLatencyTable, request));
  const LatencyTable table = FromProto(message);
  AMC_RETURN_IF_ERROR(Annotate(CheckLatencyTable(table), absl::StrCat("table ", digest)));
  return WriteFileAtomically(path, WriteLatencyCsv(table));
}

}  // namespace

absl::Status BuildLutOnServer(const LutBuildArgs& args) {
  Watcher watcher;
  const absl::StatusOr<std::string> bytes = ReadFile(args.model);
  AMC_RETURN_IF_ERROR(bytes.status());
  AMC_RETURN_IF_ERROR(Annotate(ImportOnnx(*bytes).status(), args.model));
  ClientFlags flags;
  flags.channel = {.address = args.server, .ca_file = args.ca_file, .token = args.token};
  flags.timeout = args.connect_timeout;
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, Client::Connect(flags));
  v1::SubmitJobRequest request;
  request.set_request_id(RandomHex(32));
  v1::JobSpec& spec = *request.mutable_spec();
  spec.set_name(std::filesystem::path(args.model).stem().string());
  *spec.mutable_build() = BuildOf(args);
  AMC_RETURN_IF_ERROR(ImportOutput(*client, args, *spec.mutable_build()));
  AMC_ASSIGN_OR_RETURN(*spec.mutable_model(), client->Upload(args.model, v1::ARTIFACT_KIND_MODEL));
  const absl::StatusOr<v1::Job> submitted =
      client->Call(client->jobs(), &v1::JobService::Stub::SubmitJob, request);
  if (!submitted.ok()) return InTermsOfFlags(submitted.status(), args);
  if (!args.json) std::fputs(absl::StrCat("job ", submitted->id(), "\n").c_str(), stderr);
  AMC_ASSIGN_OR_RETURN(const v1::Job job, watcher.Follow(*client, submitted->id(), {}));
  AMC_RETURN_IF_ERROR(JobOutcome(job, ResumeHint(job)));
  const v1::BuiltTable& built = job.result().table();
  const std::string& digest = built.table().digest();
  if (!args.output.empty()) {
    const absl::Status written = WriteTable(*client, digest, args.output);
    AMC_RETURN_IF_ERROR(WithHint(
        written, absl::StrCat("The server has the table: `amc lut export ", digest, " -o FILE`.")));
  }
  if (args.json) {
    PrintJson(built.table());
    return absl::OkStatus();
  }
  const std::string name = args.output.empty() ? "table" : args.output;
  std::fputs(BuiltTableText(name, built, args.tolerance, spec.model()).c_str(), stdout);
  return absl::OkStatus();
}

}  // namespace amc
