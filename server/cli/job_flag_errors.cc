// How errors of the server about a job's spec are said to whoever typed the command.
#include <map>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "base/sha256.h"
#include "server/cli/exit_status.h"
#include "server/cli/job_flags.h"
#include "server/rpc/status_convert.h"

namespace amc {
namespace {

// The flag that sets a field, or the field's place in the job file that says it.
std::string NameOfField(const std::string& field, const JobFlags& flags, const v1::JobSpec& local) {
  if (field == "model") return local.model();
  if (field == "data") return local.data();
  struct Row {
    const char* field;
    const char* flag;
    bool given;
  };
  const Row rows[] = {
      {"name", "--name", !flags.name.empty()},
      {"budget", flags.budget_absolute ? "--budget-absolute" : "--budget",
       !flags.budget.empty() || flags.budget_absolute},
      {"budget.ratio", "--budget", !flags.budget.empty()},
      {"budget.absolute", flags.budget_absolute ? "--budget-absolute" : "--budget",
       flags.budget_absolute || !flags.budget.empty()},
      {"budget.also", "--budget", !flags.budget.empty()},
      {"latency.table", "--latency-table", true},
      {"latency.finalists", "--finalists", flags.finalists.has_value()},
      {"latency.must_measure", "--must-measure", flags.must_measure},
      {"budget.resource", "--resource", flags.resource.has_value()},
      {"search.agent", "--agent", flags.agent.has_value()},
      {"search.episodes", "--episodes", flags.episodes.has_value()},
      {"search.parallel_episodes", "--parallel-episodes", flags.parallel_episodes.has_value()},
      {"search.metric", "--metric", flags.metric.has_value()},
      {"search.reward", "--reward", flags.reward.has_value()},
      {"search.probes.images", "--probe-images", flags.probe_images.has_value()},
      {"search.probes.ratios", "--probe-ratios", flags.probe_ratios.has_value()},
      {"search.evolution.screening_images", "--screening-images",
       flags.screening_images.has_value()},
      {"search.evolution.start", "--start", flags.start.has_value()},
      {"search.evolution.start_policy", "--start-policy", !flags.start_policy.empty()},
      {"search.learn_from", "--learn-from", !flags.learn_from.empty()},
      {"space", "--frozen", !flags.frozen.empty()},
      {"space.min_preserve_ratio", "--min-preserve-ratio", flags.min_preserve_ratio.has_value()},
      {"space.channel_multiple", "--channel-multiple", flags.channel_multiple.has_value()},
      {"space.sparsity", "--sparsity", flags.sparsity.has_value()},
      {"space.residual_path", "--residual-path", flags.residual_path.has_value()},
      {"evaluation.reward_images", "--reward-images", flags.reward_images.has_value()},
      {"evaluation.report_images", "--report-images", flags.report_images.has_value()},
      {"evaluation.finetune_steps", "--finetune-steps", flags.finetune_steps.has_value()},
      {"evaluation.batch_size", "--batch", flags.batch.has_value()},
      {"evaluation.threads", "--threads", flags.threads.has_value()},
      {"priority", "--priority", flags.priority.has_value()},
      {"max_workers", "--max-workers", flags.max_workers.has_value()},
      {"requirements.memory_bytes", "--memory", flags.memory_bytes.has_value()},
      {"requirements.runtime", "--runtime", flags.runtime.has_value()},
  };
  const std::string list = field.substr(0, field.find('['));  // of an element
  for (const Row& row : rows) {
    if (row.given && list == row.field) return row.flag;
  }
  for (const std::string& setting : flags.settings) {
    if (absl::StartsWith(setting, field + "=")) return absl::StrCat("--set ", field);
  }
  return flags.file.empty() ? field : absl::StrCat(flags.file, ": ", field);
}

// Without the path of the server's copy that a description begins with.
std::string WithoutStorePath(const std::string& description) {
  const size_t colon = description.find(": ");
  const bool path = absl::StartsWith(description, "/") && colon != std::string::npos &&
                    absl::StrContains(description.substr(0, colon), "/artifacts/");
  return path ? description.substr(colon + 2) : description;
}

}  // namespace

absl::Status InTermsOfFlags(const absl::Status& status, const JobFlags& flags,
                            const v1::JobSpec& local) {
  const std::vector<FieldViolation> violations = FieldViolations(status);
  if (violations.empty()) return status;
  std::vector<std::string> texts;
  bool about_groups = false;
  for (const FieldViolation& violation : violations) {
    const std::string field(absl::StripPrefix(violation.field, "spec."));
    about_groups = about_groups || absl::StartsWith(field, "space");
    const std::string name = NameOfField(field, flags, local);
    std::string description = WithoutStorePath(violation.description);
    if (name == "--frozen") description = std::string(absl::StripPrefix(description, "frozen: "));
    texts.push_back(absl::StrCat(name, ": ", description));
  }
  absl::Status named(status.code(), absl::StrJoin(texts, "; "));
  const bool file = !IsSha256Hex(local.model());
  if (!about_groups) return named;
  return WithHint(
      named, absl::StrCat("`amc inspect ", file ? local.model() : "MODEL", "` lists the groups."));
}

}  // namespace amc
