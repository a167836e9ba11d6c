#include "agent/planning_agent.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "agent/agent_state.h"
#include "agent/fit.h"
#include "agent/probes.h"
#include "agent/starts.h"
#include "base/status_macros.h"

namespace amc {
namespace {

class PlanningAgent final : public Agent {
 public:
  PlanningAgent(std::string name, const Environment& env, const AgentOptions& options,
                PlanFunction plan)
      : name_(name),
        progress_(std::move(name), options.seed, env),
        env_(env.Clone()),
        probes_(env, options),
        plan_(std::move(plan)) {}

  void Remember(const Episode& episode, double reward) override {
    probes_.Remember(*env_, episode, reward);
  }

  absl::StatusOr<Episode> Propose(Environment& env, int64_t number, double /*left*/) override {
    AMC_RETURN_IF_ERROR(progress_.CheckShape(env));
    if (number < progress_.done() || number >= progress_.done() + available()) {
      return absl::OutOfRangeError(absl::StrCat("agent ", name_, ": episode ", number,
                                                " is not one of the ", available(), " from ",
                                                progress_.done(), " on"));
    }
    if (number < probes_.size()) return probes_.Propose(env, number);
    const PolicySpace space(env);
    if (plan_failed_) {
      Episode episode = EpisodeOf(env, space.Kept(UniformStart(env, space)), number);
      episode.note = "uniform, the plan being infeasible";
      return episode;
    }
    const LossCurves curves = probes_.Curves(env.lattice());
    GroupTables loss;
    for (size_t g = 0; g < space.num_groups(); ++g) {
      loss.emplace_back(curves.losses(g).begin(), curves.losses(g).end());
    }
    Episode episode = EpisodeOf(env, space.Kept(plan_(space, loss)), number);
    episode.note = "plan";
    return episode;
  }

  absl::Status Learn(const Episode& episode, double reward) override {
    AMC_RETURN_IF_ERROR(progress_.CheckNext(episode.number, reward));
    if (!probes_.complete()) probes_.Learn(reward);
    progress_.Advance();
    return absl::OkStatus();
  }

  absl::Status Skip(const Episode& episode) override {
    AMC_RETURN_IF_ERROR(progress_.CheckNext(episode.number));
    if (!probes_.complete()) {
      probes_.Skip();
    } else if (progress_.done() == probes_.size()) {
      const PolicySpace space(*env_);
      const auto kept = KeptCounts(episode.policy, env_->grouping());
      plan_failed_ = kept.ok() && *kept != space.Kept(UniformStart(*env_, space));
    }
    progress_.Advance();
    return absl::OkStatus();
  }

  // The probes that are left, then the plan, then what stands in for it.
  int64_t available() const override {
    if (!probes_.complete()) return probes_.size() - probes_.measured();
    return progress_.done() < probes_.size() + 1 + (plan_failed_ ? 1 : 0) ? 1 : 0;
  }

  // After the common header: the probes, whether the plan failed u8.
  std::string SaveState() const override {
    ByteWriter writer;
    progress_.Save(writer);
    probes_.Save(writer);
    writer.U8(plan_failed_);
    return std::move(writer).bytes();
  }

  absl::Status RestoreState(absl::string_view bytes) override {
    ByteReader reader(bytes);
    AMC_ASSIGN_OR_RETURN(const int64_t done, progress_.Read(reader));
    ProbePhase probes = probes_;
    AMC_RETURN_IF_ERROR(probes.Read(reader));
    const bool plan_failed = reader.U8() != 0;
    AMC_RETURN_IF_ERROR(reader.Finish());
    if (probes.measured() != std::min(done, probes.size()) ||
        done > probes.size() + 1 + (plan_failed ? 1 : 0)) {
      return absl::InvalidArgumentError(absl::StrCat("agent ", name_, ": ", probes.measured(),
                                                     " probes were measured in ", done,
                                                     " episodes"));
    }
    progress_.set_done(done);
    probes_ = std::move(probes);
    plan_failed_ = plan_failed;
    return absl::OkStatus();
  }

 private:
  const std::string name_;
  AgentProgress progress_;
  const std::unique_ptr<Environment> env_;
  ProbePhase probes_;
  const PlanFunction plan_;
  bool plan_failed_ = false;  // and the uniform policy is another one
};

}  // namespace

absl::StatusOr<std::unique_ptr<Agent>> MakePlanningAgent(std::string name, const Environment& env,
                                                         const AgentOptions& options,
                                                         PlanFunction plan) {
  AMC_RETURN_IF_ERROR(CheckProbeOptions(options.probes));
  const ProbePlan probes = PlanProbes(env, options);
  if (probes.highest_cost + 1 > options.evaluations) {
    return absl::InvalidArgumentError(absl::StrCat(
        "agent ", name, ": ", probes.points.size(), " probes on ", probes.images,
        " images may cost ", probes.highest_cost, " evaluations and a candidate costs 1, expected ",
        "at most ", options.evaluations,
        ": lower probes.ratios or probes.images, or allow at least ",
        std::ceil(probes.highest_cost + 1), " evaluations"));
  }
  return std::make_unique<PlanningAgent>(std::move(name), env, options, std::move(plan));
}

}  // namespace amc
