#include "agent/agent_state.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace amc {
namespace {

constexpr absl::string_view kMagic = "AMCA";
constexpr uint32_t kVersion = 1;

absl::Status Differs(absl::string_view what, absl::string_view saved, absl::string_view expected) {
  return absl::InvalidArgumentError(
      absl::StrCat("agent state: ", what, " is ", saved, ", expected ", expected));
}

}  // namespace

AgentProgress::AgentProgress(std::string name, uint64_t seed, const Environment& env)
    : name_(std::move(name)),
      seed_(seed),
      groups_(env.lattice().num_groups()),
      steps_(env.num_steps()) {}

absl::Status AgentProgress::CheckShape(const Environment& env) const {
  if (env.lattice().num_groups() == groups_ && env.num_steps() == steps_) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "agent ", name_, " was made for ", groups_, " groups and ", steps_,
      " steps; this environment has ", env.lattice().num_groups(), " and ", env.num_steps()));
}

absl::Status AgentProgress::CheckNext(int64_t number) const {
  if (number == done_) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "agent ", name_, ": episode ", number, " came to be learnt or skipped, expected ", done_));
}

absl::Status AgentProgress::CheckNext(int64_t number, double reward) const {
  AMC_RETURN_IF_ERROR(CheckNext(number));
  if (!std::isfinite(reward)) {
    return absl::InvalidArgumentError(
        absl::StrCat("agent ", name_, ": episode ", number, " has reward ", reward));
  }
  return absl::OkStatus();
}

void AgentProgress::Save(ByteWriter& writer) const {
  writer.String(kMagic);
  writer.U32(kVersion);
  writer.String(name_);
  writer.U64(seed_);
  writer.U64(Observation::kSize);
  writer.U64(groups_);
  writer.U64(steps_);
  writer.I64(done_);
}

absl::StatusOr<int64_t> AgentProgress::Read(ByteReader& reader) const {
  if (reader.String() != kMagic) {
    return absl::InvalidArgumentError("agent state: these bytes are no agent's");
  }
  if (const uint32_t version = reader.U32(); version != kVersion) {
    return Differs("version", absl::StrCat(version), absl::StrCat(kVersion));
  }
  if (const std::string name = reader.String(); name != name_) return Differs("name", name, name_);
  if (const uint64_t seed = reader.U64(); seed != seed_) {
    return Differs("seed", absl::StrCat(seed), absl::StrCat(seed_));
  }
  const uint64_t features = reader.U64(), groups = reader.U64(), steps = reader.U64();
  if (features != Observation::kSize || groups != groups_ || steps != steps_) {
    return Differs("shape",
                   absl::StrCat(features, " features, ", groups, " groups, ", steps, " steps"),
                   absl::StrCat(static_cast<int>(Observation::kSize), " features, ", groups_,
                                " groups, ", steps_, " steps"));
  }
  const int64_t done = reader.I64();
  if (reader.failed() || done < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("agent state: cut short, or ", done, " episodes done"));
  }
  return done;
}

}  // namespace amc
