#include "server/convert.h"

#include <utility>

#include "base/log.h"

namespace amc {

v1::Cost ToProto(const Cost& cost) {
  v1::Cost out;
  out.set_macs(cost.macs);
  out.set_params(cost.params);
  return out;
}

v1::Policy ToProto(const Policy& policy) {
  v1::Policy out;
  for (const Decision& decision : policy.decisions) {
    v1::Decision* entry = out.add_decisions();
    entry->set_target(decision.target);
    entry->set_granularity(static_cast<v1::Granularity>(decision.granularity));
    entry->set_kept(decision.kept);
  }
  return out;
}

v1::Measurement ToProto(const Measurement& measurement) {
  v1::Measurement out;
  out.set_top1(measurement.top1);
  out.set_top5(measurement.top5);
  out.set_loss(measurement.loss);
  out.set_kl(measurement.kl);
  out.set_soft_kl(measurement.soft_kl);
  out.set_images(measurement.images);
  *out.mutable_cost() = ToProto(measurement.cost);
  out.set_work(measurement.work);
  return out;
}

v1::Episode ToProto(const EvaluatedEpisode& evaluated, const Environment& env) {
  const Episode& episode = evaluated.episode;
  v1::Episode out;
  out.set_number(episode.number);
  out.set_kind(static_cast<v1::EpisodeKind>(episode.kind));
  out.set_evaluations(evaluated.evaluations);
  out.set_state(v1::EPISODE_STATE_DONE);
  // A policy has a decision for every group, the walk a step for each that has a choice. Agents
  // that propose whole candidates record actions but no observations.
  const Grouping& grouping = env.grouping();
  size_t asked = 0;
  for (const Decision& decision : episode.policy.decisions) {
    const int found = grouping.FindGroup(decision.target);
    AMC_CHECK(found >= 0) << "episode " << episode.number << ": no group " << decision.target;
    const auto group = static_cast<size_t>(found);
    v1::Step* step = out.add_steps();
    step->set_group(decision.target);
    step->set_kept(decision.kept);
    step->set_channels(grouping.groups[group].channels);
    step->set_executed(static_cast<double>(decision.kept) /
                       static_cast<double>(grouping.groups[group].channels));
    step->set_action(step->executed());
    if (env.lattice().choices(group).size() < 2) continue;
    const size_t i = asked++;
    if (i < episode.actions.size()) step->set_action(episode.actions[i]);
    if (i < episode.observations.size()) {
      for (const float feature : episode.observations[i].features) step->add_observation(feature);
    }
  }
  *out.mutable_policy() = ToProto(episode.policy);
  *out.mutable_cost() = ToProto(episode.cost);
  if (evaluated.measurement.infeasible.empty()) {
    *out.mutable_measurement() = ToProto(evaluated.measurement);
    out.set_reward(evaluated.reward);
  } else {
    out.set_state(v1::EPISODE_STATE_INFEASIBLE);
    out.set_infeasible(evaluated.measurement.infeasible);
  }
  out.set_note(episode.note);
  return out;
}

Cost FromProto(const v1::Cost& cost) { return {.macs = cost.macs(), .params = cost.params()}; }

Policy FromProto(const v1::Policy& policy) {
  Policy out;
  out.decisions.reserve(static_cast<size_t>(policy.decisions_size()));
  for (const v1::Decision& decision : policy.decisions()) {
    out.decisions.push_back({.target = decision.target(),
                             .granularity = static_cast<Granularity>(decision.granularity()),
                             .kept = decision.kept()});
  }
  return out;
}

Measurement FromProto(const v1::Measurement& measurement) {
  Measurement out;
  out.top1 = measurement.top1();
  out.top5 = measurement.top5();
  out.loss = measurement.loss();
  out.kl = measurement.kl();
  out.soft_kl = measurement.soft_kl();
  out.images = measurement.images();
  out.cost = FromProto(measurement.cost());
  out.work = measurement.work();
  return out;
}

Episode FromProto(const v1::Episode& episode, const Environment& env) {
  Episode out;
  out.number = episode.number();
  if (episode.kind() != v1::EPISODE_KIND_UNSPECIFIED) {
    out.kind = static_cast<EpisodeKind>(episode.kind());
  }
  out.images = out.kind == EpisodeKind::kCandidate ? 0 : episode.measurement().images();
  for (const v1::Step& step : episode.steps()) {
    const int group = env.grouping().FindGroup(step.group());
    if (group < 0 || env.lattice().choices(static_cast<size_t>(group)).size() < 2) continue;
    out.actions.push_back(step.action());
    out.executed.push_back(step.executed());
    if (step.observation().empty()) continue;
    Observation observation;
    observation.group = group;
    observation.features.assign(step.observation().begin(), step.observation().end());
    out.observations.push_back(std::move(observation));
  }
  out.policy = FromProto(episode.policy());
  out.cost = FromProto(episode.cost());
  out.note = episode.note();
  return out;
}

}  // namespace amc
