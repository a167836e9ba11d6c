#include "server/pareto.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <numeric>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "env/reward.h"
#include "server/convert.h"
#include "server/job_settings.h"
#include "server/rpc/status_convert.h"

namespace amc {
namespace {

constexpr int kPage = 1000;

// An environment whose one bound is on the resource and holds for everything: it has the resource's
// cost function.
absl::StatusOr<std::unique_ptr<Environment>> MeterOf(const v1::GetParetoRequest& request,
                                                     const v1::Job& job, v1::Resource resource,
                                                     Store& store, ModelCache& models) {
  EnvironmentSettings settings = SettingsOf(job.spec());
  settings.budget.Clear();
  settings.budget.set_resource(resource);
  settings.budget.set_ratio(1);
  if (!request.latency_table().empty()) {
    const absl::StatusOr<v1::LatencyTableInfo> info =
        store.FindLatencyTable(request.latency_table());
    if (!info.ok()) return AtField(info.status(), "latency_table");
    settings.latency.set_table(info->digest());
  }
  if (resource == v1::RESOURCE_LATENCY) {
    if (settings.latency.table().empty()) {
      return absl::FailedPreconditionError(absl::StrCat(
          "job ", job.id(), " has no latency table: name one that predicts the latency"));
    }
    if (!settings.space.has_sparsity()) {
      AMC_RETURN_IF_ERROR(AtField(
          models.Latency(job.spec().model(), settings.latency.table()).status(), "latency_table"));
    }
  }
  return models.MakeEnvironment(job.spec().model(), settings);
}

// What a job is about: its budget's resource, or without one what its reward weighs.
v1::Resource DefaultResource(const v1::JobSpec& spec) {
  if (spec.has_budget()) return spec.budget().resource();
  const auto reward = static_cast<RewardKind>(spec.search().reward());
  const Resource otherwise = spec.space().has_sparsity() ? Resource::kNonZeros : Resource::kMacs;
  return static_cast<v1::Resource>(WeighedResource(reward).value_or(otherwise));
}

absl::StatusOr<std::vector<v1::Episode>> Candidates(const std::string& job, Store& store) {
  v1::ListEpisodesRequest request;
  request.set_job(job);
  request.set_page_size(kPage);
  request.mutable_filter()->add_kinds(v1::EPISODE_KIND_CANDIDATE);
  std::vector<v1::Episode> episodes;
  do {
    AMC_ASSIGN_OR_RETURN(v1::ListEpisodesResponse page, store.ListEpisodes(request));
    for (v1::Episode& episode : *page.mutable_episodes()) {
      if (episode.state() == v1::EPISODE_STATE_DONE) episodes.push_back(std::move(episode));
    }
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  return episodes;
}

}  // namespace

std::vector<size_t> ParetoFront(absl::Span<const QualityAndCost> points) {
  std::vector<size_t> order(points.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    if (points[a].cost != points[b].cost) return points[a].cost < points[b].cost;
    return points[a].quality > points[b].quality;
  });
  std::vector<size_t> front;
  double best = -std::numeric_limits<double>::infinity();
  for (const size_t i : order) {
    if (!(points[i].quality > best)) continue;
    best = points[i].quality;
    front.push_back(i);
  }
  return front;
}

absl::StatusOr<v1::GetParetoResponse> GetPareto(const v1::GetParetoRequest& request, Store& store,
                                                ModelCache& models) {
  AMC_ASSIGN_OR_RETURN(const v1::Job job, store.GetJob(request.job()));
  v1::Resource resource = request.resource();
  if (job.spec().has_build()) {
    return absl::FailedPreconditionError(
        absl::StrCat("job ", job.id(), " makes a latency table: it has no candidates"));
  }
  if (!v1::Resource_IsValid(resource)) {
    return FieldError("resource", absl::StrCat("unknown value ", static_cast<int>(resource)));
  }
  if (resource == v1::RESOURCE_UNSPECIFIED) resource = DefaultResource(job.spec());
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<Environment> meter,
                       MeterOf(request, job, resource, store, models));
  AMC_ASSIGN_OR_RETURN(std::vector<v1::Episode> episodes, Candidates(job.id(), store));
  const auto metric = static_cast<QualityMetric>(job.spec().search().metric());
  std::vector<QualityAndCost> points;
  for (const v1::Episode& episode : episodes) {
    AMC_ASSIGN_OR_RETURN(const std::vector<int64_t> kept,
                         KeptCounts(FromProto(episode.policy()), meter->grouping()));
    points.push_back(
        {QualityOf(metric, FromProto(episode.measurement())), meter->cost().Evaluate(kept)});
  }
  v1::GetParetoResponse response;
  response.set_resource(resource);
  response.set_original(meter->bounds()[0].original);
  for (const size_t i : ParetoFront(points)) {
    v1::ParetoPoint& point = *response.add_points();
    *point.mutable_episode() = std::move(episodes[i]);
    point.set_cost(points[i].cost);
    point.set_ratio(static_cast<double>(points[i].cost) /
                    static_cast<double>(std::max<int64_t>(1, response.original())));
  }
  return response;
}

}  // namespace amc
