#include "server/cli/job_flags.h"

#include <CLI/CLI.hpp>
#include <filesystem>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "server/cli/exit_status.h"
#include "server/cli/json.h"

namespace amc {
namespace {

using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// "CRITERION_" of the enum amc.v1.Criterion: the name of its value 0 without "UNSPECIFIED".
std::string EnumPrefix(const EnumDescriptor& type) {
  const std::string& zero = type.FindValueByNumber(0)->name();
  return zero.substr(0, zero.size() - std::string("UNSPECIFIED").size());
}

// The enum's names as flags spell them: "l1", "top1", "error_log_macs".
std::vector<std::string> EnumNames(const EnumDescriptor& type) {
  std::vector<std::string> names;
  for (int i = 0; i < type.value_count(); ++i) {
    if (type.value(i)->number() == 0) continue;
    names.push_back(absl::AsciiStrToLower(type.value(i)->name().substr(EnumPrefix(type).size())));
  }
  return names;
}

// Sets the field to the value that `parse` finds in the text, which is `otherwise` if it finds
// none.
template <typename T>
absl::Status SetParsed(Message& message, const FieldDescriptor& field, const std::string& text,
                       bool (*parse)(absl::string_view, T*),
                       void (Reflection::*set)(Message*, const FieldDescriptor*, T) const,
                       absl::string_view otherwise) {
  T value{};
  if (!parse(text, &value)) {
    return UsageError(absl::StrCat(field.name(), ": \"", text, "\" is ", otherwise));
  }
  (message.GetReflection()->*set)(&message, &field, value);
  return absl::OkStatus();
}

absl::Status SetScalar(Message& message, const FieldDescriptor& field, const std::string& text) {
  const Reflection& reflection = *message.GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      if (field.is_repeated()) {
        reflection.AddString(&message, &field, text);
      } else {
        reflection.SetString(&message, &field, text);
      }
      return absl::OkStatus();
    case FieldDescriptor::CPPTYPE_INT64:
      return SetParsed<int64_t>(message, field, text, absl::SimpleAtoi<int64_t>,
                                &Reflection::SetInt64, "no whole number");
    case FieldDescriptor::CPPTYPE_UINT64:
      return SetParsed<uint64_t>(message, field, text, absl::SimpleAtoi<uint64_t>,
                                 &Reflection::SetUInt64, "no whole number from 0");
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return SetParsed<double>(message, field, text, absl::SimpleAtod, &Reflection::SetDouble,
                               "no number");
    case FieldDescriptor::CPPTYPE_BOOL:
      return SetParsed<bool>(message, field, text, absl::SimpleAtob, &Reflection::SetBool,
                             "neither true nor false");
    case FieldDescriptor::CPPTYPE_ENUM: {
      const EnumDescriptor& type = *field.enum_type();
      const std::string upper = absl::AsciiStrToUpper(text);
      const auto* value = type.FindValueByName(absl::StrCat(EnumPrefix(type), upper));
      if (value == nullptr) value = type.FindValueByName(upper);
      if (value == nullptr || value->number() == 0) {
        return UsageError(absl::StrCat(field.name(), ": \"", text, "\" is none of ",
                                       absl::StrJoin(EnumNames(type), ", ")));
      }
      reflection.SetEnum(&message, &field, value);
      return absl::OkStatus();
    }
    default:
      return UsageError(absl::StrCat(field.name(), " cannot be set from text"));
  }
}

template <typename T>
void Collect(std::vector<std::string>& assignments, const char* field,
             const std::optional<T>& value) {
  if (!value) return;
  if constexpr (std::is_same_v<T, double>) {
    assignments.push_back(absl::StrCat(field, "=", absl::StrFormat("%.17g", *value)));
  } else {
    assignments.push_back(absl::StrCat(field, "=", *value));
  }
}

}  // namespace

void AddJobFlags(CLI::App& app, JobFlags& flags) {
  app.add_option("--data", flags.data, "Data pack (amc data pack), or its digest");
  app.add_option("--name", flags.name, "A name for people");
  auto* ratio = app.add_option("--budget", flags.budget,
                               "What the result may cost, as a ratio of the original's cost");
  app.add_option("--budget-absolute", flags.budget_absolute, "The same as a number")
      ->excludes(ratio);
  app.add_option("--resource", flags.resource, "What the budget is on: macs or params");
  app.add_flag("--no-land", flags.no_land, "Let candidates stay below the budget");
  app.add_option("--agent", flags.agent, "ddpg-paper, uniform or random");
  app.add_option("--seed", flags.seed, "Seed of the search");
  app.add_option("--episodes", flags.episodes, "Candidates to measure");
  app.add_option("--parallel-episodes", flags.parallel_episodes,
                 "Candidates drawn at once; more workers than this are idle");
  app.add_option("--metric", flags.metric, "Quality: top1, top5 or negative_kl");
  app.add_option("--reward", flags.reward, "quality, error_log_macs or error_log_params");
  app.add_option("--min-preserve-ratio", flags.min_preserve_ratio, "No group keeps less");
  app.add_option("--channel-multiple", flags.channel_multiple, "Kept counts are multiples of it");
  app.add_option("--frozen", flags.frozen, "A group that stays whole (may be repeated)")
      ->allow_extra_args(false);
  app.add_option("--residual-path", flags.residual_path,
                 "keep or prune residual paths; without it, keep them where the budget allows");
  app.add_option("--criterion", flags.criterion, "Which channels stay: l1, l2, energy or greedy");
  app.add_option("--reconstruction", flags.reconstruction,
                 "What ranks candidates: none, fast or strong; the winner gets strong");
  app.add_option("--reward-images", flags.reward_images,
                 "Images that rank candidates; 0: the whole split");
  app.add_option("--report-images", flags.report_images,
                 "Images that measure the result; 0: the whole split");
  app.add_option("--device", flags.device, "cpu or cuda");
  app.add_flag("--bf16", flags.bf16, "Compute in bfloat16");
  app.add_option("--batch", flags.batch, "Images run at once");
  app.add_option("--threads", flags.threads, "Threads of each worker");
  app.add_flag("--allow-weak-baseline", flags.allow_weak_baseline,
               "Search although the original is near chance");
  app.add_option("--set", flags.settings,
                 "Any field of the job file: --set search.ddpg.warmup_episodes=20")
      ->allow_extra_args(false);
}

absl::Status SetField(const std::string& assignment, v1::JobSpec& spec) {
  const size_t equals = assignment.find('=');
  if (equals == std::string::npos) {
    return UsageError(absl::StrCat("--set ", assignment, ": FIELD=VALUE expected"));
  }
  const std::vector<std::string> path = absl::StrSplit(assignment.substr(0, equals), '.');
  Message* message = &spec;
  for (size_t i = 0; i < path.size(); ++i) {
    const FieldDescriptor* field = message->GetDescriptor()->FindFieldByName(path[i]);
    const bool last = i + 1 == path.size();
    if (field == nullptr || last == (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE)) {
      return UsageError(
          absl::StrCat(assignment.substr(0, equals), ": a job file has no such field"));
    }
    if (last) return SetScalar(*message, *field, assignment.substr(equals + 1));
    message = message->GetReflection()->MutableMessage(message, field);
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::JobSpec> MakeJobSpec(const JobFlags& flags) {
  v1::JobSpec spec;
  if (!flags.file.empty()) {
    AMC_ASSIGN_OR_RETURN(spec, ReadJobFile(flags.file));
  }
  if (!flags.model.empty()) spec.set_model(flags.model);
  if (!flags.data.empty()) spec.set_data(flags.data);
  if (!flags.name.empty()) spec.set_name(flags.name);
  std::vector<std::string> assignments;
  Collect(assignments, "budget.ratio", flags.budget);
  Collect(assignments, "budget.absolute", flags.budget_absolute);
  Collect(assignments, "budget.resource", flags.resource);
  Collect(assignments, "search.agent", flags.agent);
  Collect(assignments, "search.seed", flags.seed);
  Collect(assignments, "search.episodes", flags.episodes);
  Collect(assignments, "search.parallel_episodes", flags.parallel_episodes);
  Collect(assignments, "search.metric", flags.metric);
  Collect(assignments, "search.reward", flags.reward);
  Collect(assignments, "space.min_preserve_ratio", flags.min_preserve_ratio);
  Collect(assignments, "space.channel_multiple", flags.channel_multiple);
  Collect(assignments, "space.residual_path", flags.residual_path);
  Collect(assignments, "evaluation.criterion", flags.criterion);
  Collect(assignments, "evaluation.reconstruction", flags.reconstruction);
  Collect(assignments, "evaluation.reward_images", flags.reward_images);
  Collect(assignments, "evaluation.report_images", flags.report_images);
  Collect(assignments, "evaluation.device", flags.device);
  Collect(assignments, "evaluation.batch_size", flags.batch);
  Collect(assignments, "evaluation.threads", flags.threads);
  for (const std::string& group : flags.frozen) {
    assignments.push_back(absl::StrCat("space.frozen=", group));
  }
  if (flags.no_land) assignments.emplace_back("budget.land=false");
  if (flags.bf16) assignments.emplace_back("evaluation.precision=bf16");
  if (flags.allow_weak_baseline) assignments.emplace_back("allow_weak_baseline=true");
  assignments.insert(assignments.end(), flags.settings.begin(), flags.settings.end());
  for (const std::string& assignment : assignments) {
    AMC_RETURN_IF_ERROR(SetField(assignment, spec));
  }
  if (spec.model().empty()) return UsageError("no model: name an ONNX file");
  if (spec.data().empty()) {
    return WithHint(UsageError("no data: --data names a data pack"),
                    "`amc data pack` makes one from images; see `amc data pack --help`.");
  }
  return spec;
}

absl::Status UploadInputs(Client& client, v1::JobSpec& spec) {
  if (spec.name().empty()) spec.set_name(std::filesystem::path(spec.model()).stem().string());
  if (!IsSha256Hex(spec.model())) {
    AMC_ASSIGN_OR_RETURN(*spec.mutable_model(),
                         client.Upload(spec.model(), v1::ARTIFACT_KIND_MODEL));
  }
  if (!IsSha256Hex(spec.data())) {
    AMC_ASSIGN_OR_RETURN(*spec.mutable_data(), client.Upload(spec.data(), v1::ARTIFACT_KIND_DATA));
  }
  return absl::OkStatus();
}

}  // namespace amc
