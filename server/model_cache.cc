#include "server/model_cache.h"

#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "env/cost/latency_table.h"
#include "env/graph/onnx_import.h"
#include "server/job_settings.h"

namespace amc {
namespace {

constexpr size_t kModels = 16;
constexpr size_t kEnvironments = 64;

template <typename List>
auto Find(List& list, const std::string& key) -> decltype(list.front().second) {
  for (auto it = list.begin(); it != list.end(); ++it) {
    if (it->first != key) continue;
    list.splice(list.begin(), list, it);
    return it->second;
  }
  return nullptr;
}

template <typename List, typename Value>
void Insert(List& list, const std::string& key, const Value& value, size_t capacity) {
  list.emplace_front(key, value);
  if (list.size() > capacity) list.pop_back();
}

// Predictions are off by some percent: a budget on latency that can only just be reached may turn
// out to be out of reach when candidates are measured.
constexpr double kSlack = 0.93;

// The budget with its bound on latency, if it has one, tightened by that.
v1::Budget WithSlack(v1::Budget budget) {
  const auto tighten = [](auto& bound) {
    if (bound.resource() != v1::RESOURCE_LATENCY) return;
    if (bound.has_ratio()) bound.set_ratio(kSlack * bound.ratio());
    if (bound.has_absolute()) {
      bound.set_absolute(std::llround(kSlack * static_cast<double>(bound.absolute())));
    }
  };
  tighten(budget);
  for (v1::BudgetBound& bound : *budget.mutable_also()) tighten(bound);
  return budget;
}

}  // namespace

absl::StatusOr<std::shared_ptr<const Graph>> ModelCache::Model(const std::string& digest) {
  {
    MutexLock lock(&mutex_);
    if (std::shared_ptr<const Graph> found = Find(models_, digest)) return found;
  }
  AMC_ASSIGN_OR_RETURN(const std::string bytes, artifacts_->Get(digest));
  AMC_ASSIGN_OR_RETURN(Graph graph, ImportOnnx(bytes));
  // Costs need shapes alone, but scalars are settings: the bounds of Clip, the value of Pad.
  for (Tensor& tensor : graph.tensors) {
    if (tensor.type == DataType::kFloat && tensor.shape.size() > 0 && tensor.shape != Shape{1}) {
      tensor.data = nullptr;
    }
  }
  auto shared = std::make_shared<const Graph>(std::move(graph));
  MutexLock lock(&mutex_);
  Insert(models_, digest, shared, kModels);
  return shared;
}

absl::Status ModelCache::DecideSpace(const std::string& digest, EnvironmentSettings& settings) {
  v1::SpaceSpec& space = settings.space;
  std::vector<int64_t> multiples = {space.channel_multiple()};
  if (!space.has_channel_multiple()) multiples = {kLatencyChannelMultiple, 1};
  std::vector<v1::ResidualPath> paths = {space.residual_path()};
  if (space.residual_path() == v1::RESIDUAL_PATH_UNSPECIFIED) {
    paths = {v1::RESIDUAL_PATH_KEEP, v1::RESIDUAL_PATH_PRUNE};
  }
  if (multiples.size() * paths.size() == 1) return absl::OkStatus();
  AMC_RETURN_IF_ERROR(Model(digest).status());
  EnvironmentSettings trial = settings;
  for (const v1::Budget& budget : {WithSlack(settings.budget), settings.budget}) {
    trial.budget = budget;
    for (const int64_t multiple : multiples) {
      for (const v1::ResidualPath path : paths) {
        space.set_channel_multiple(multiple);
        space.set_residual_path(path);
        trial.space = space;
        const absl::Status made = MakeEnvironment(digest, trial).status();
        if (!absl::IsOutOfRange(made) && !absl::IsFailedPrecondition(made)) return absl::OkStatus();
      }
    }
  }
  return absl::OkStatus();  // what is wrong comes up where the environment is made
}

absl::StatusOr<std::unique_ptr<Environment>> ModelCache::MakeEnvironment(
    const std::string& digest, const EnvironmentSettings& settings) {
  const std::string key =
      absl::StrCat(digest, "|", settings.budget.SerializeAsString(), "|",
                   settings.space.SerializeAsString(), "|", settings.latency.SerializeAsString());
  {
    MutexLock lock(&mutex_);
    if (std::shared_ptr<const Environment> found = Find(environments_, key)) return found->Clone();
  }
  AMC_ASSIGN_OR_RETURN(const std::shared_ptr<const Graph> graph, Model(digest));
  EnvOptions options = ToEnvOptions(settings);
  options.model = digest;
  if (!settings.latency.table().empty()) {
    AMC_ASSIGN_OR_RETURN(LatencyTable table, latency_tables_(settings.latency.table()));
    options.latency = std::make_shared<const LatencyTable>(std::move(table));
  }
  AMC_ASSIGN_OR_RETURN(std::shared_ptr<const Environment> made, AmcEnv::Create(*graph, options));
  std::unique_ptr<Environment> fresh = made->Clone();
  MutexLock lock(&mutex_);
  Insert(environments_, key, made, kEnvironments);
  return fresh;
}

absl::StatusOr<LatencyModel> ModelCache::Latency(const std::string& digest,
                                                 const std::string& table) {
  AMC_ASSIGN_OR_RETURN(const std::shared_ptr<const Graph> graph, Model(digest));
  AMC_ASSIGN_OR_RETURN(const Grouping grouping, BuildGroups(*graph));
  AMC_ASSIGN_OR_RETURN(const LatencyTable times, latency_tables_(table));
  return LatencyModel::Create(*graph, grouping, times, digest);
}

}  // namespace amc
