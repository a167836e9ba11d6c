#include "server/cli/json.h"

#include <cstdio>
#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "google/protobuf/util/json_util.h"
#include "server/cli/exit_status.h"
#include "server/cli/format.h"

namespace amc {
namespace {

absl::Status ReadJson(const std::string& path, google::protobuf::Message& message) {
  AMC_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
  const auto status =
      google::protobuf::util::JsonStringToMessage(StripCommentLines(bytes), &message);
  if (status.ok()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(path, ": not the JSON of a ",
                                                 message.GetDescriptor()->name(), ": ",
                                                 std::string(status.message())));
}

// `value`, seen from the folder of `file` unless it is a digest or an absolute path.
std::string ResolvePath(const std::string& value, const std::string& file) {
  if (value.empty() || IsSha256Hex(value) || value.front() == '/') return value;
  return (std::filesystem::path(file).parent_path() / value).string();
}

}  // namespace

std::string ToJson(const google::protobuf::Message& message, bool pretty) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = pretty;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string json;
  const auto status = google::protobuf::util::MessageToJsonString(message, &json, options);
  // Only messages with Any or invalid UTF-8 fail; names from a model may hold the latter.
  if (!status.ok()) {
    return absl::StrCat("{\"error\": ", JsonQuote(std::string(status.message())), "}\n");
  }
  return json;
}

void PrintJson(const google::protobuf::Message& message) {
  std::fputs(ToJson(message).c_str(), stdout);
}

std::string StripCommentLines(absl::string_view text) {
  std::vector<absl::string_view> lines = absl::StrSplit(text, '\n');
  for (absl::string_view& line : lines) {
    const absl::string_view visible = absl::StripLeadingAsciiWhitespace(line);
    if (absl::StartsWith(visible, "//") || absl::StartsWith(visible, "#")) line = "";
  }
  return absl::StrJoin(lines, "\n");
}

absl::StatusOr<v1::JobSpec> ReadJobFile(const std::string& path) {
  v1::JobSpec spec;
  AMC_RETURN_IF_ERROR(WithHint(ReadJson(path, spec),
                               "`amc init MODEL` writes a job file with every field explained."));
  spec.set_model(ResolvePath(spec.model(), path));
  spec.set_data(ResolvePath(spec.data(), path));
  if (spec.has_latency()) {
    spec.mutable_latency()->set_table(ResolvePath(spec.latency().table(), path));
  }
  return spec;
}

absl::StatusOr<v1::PolicyFile> ReadPolicyFile(const std::string& path) {
  v1::PolicyFile file;
  AMC_RETURN_IF_ERROR(WithHint(ReadJson(path, file),
                               "A policy file reads {\"keep\": {\"GROUP\": count}} with the groups "
                               "that `amc inspect MODEL` lists."));
  return file;
}

std::string PolicyFileJson(const v1::Policy& policy) {
  std::string json = "{\n  \"keep\": {";
  const char* separator = "\n";
  for (const v1::Decision& decision : policy.decisions()) {
    absl::StrAppend(&json, separator, "    ", JsonQuote(decision.target()), ": ", decision.kept());
    separator = ",\n";
  }
  return json + "\n  }\n}\n";
}

}  // namespace amc
