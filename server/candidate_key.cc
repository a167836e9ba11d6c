#include "server/candidate_key.h"

#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/sha256.h"

namespace amc {
namespace {

// Grows whenever the evaluator's arithmetic changes: what older programs measured is then measured
// anew.
constexpr int kEvaluatorRevision = 3;

}  // namespace

std::string CandidateKey(const v1::JobSpec& spec, const std::string& numerics_id,
                         const v1::Policy& policy, int64_t images) {
  if (!spec.reuse() || numerics_id.empty()) return "";
  v1::EvaluationSpec evaluation = spec.evaluation();
  evaluation.clear_report_images();  // of the winner alone
  // More than the spec's are not measured.
  if (images > 0 && (evaluation.reward_images() == 0 || images < evaluation.reward_images())) {
    evaluation.set_reward_images(images);
  }
  std::map<std::string, std::pair<int, int64_t>> kept;  // in one order, whatever the policy's
  for (const v1::Decision& decision : policy.decisions()) {
    kept[decision.target()] = {decision.granularity(), decision.kept()};
  }
  Sha256 hash;
  const auto add = [&hash](const std::string& part) {
    hash.Update(absl::StrCat(part.size(), ":", part));  // no two lists of parts give the same bytes
  };
  add(absl::StrCat(kEvaluatorRevision));
  add(spec.data());
  add(evaluation.SerializeAsString());
  add(numerics_id);
  if (spec.space().has_sparsity()) add(spec.space().sparsity().SerializeAsString());
  for (const auto& [target, decision] : kept) {
    add(target);
    add(absl::StrCat(decision.first, " ", decision.second));
  }
  return absl::StrCat(spec.model(), ":", hash.HexDigest());
}

}  // namespace amc
