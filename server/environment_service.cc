#include "server/environment_service.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/convert.h"
#include "server/job_spec.h"
#include "server/rpc/random_hex.h"
#include "server/rpc/status_convert.h"

namespace amc {
namespace {

// In the order of Observation::Feature; the names of the paper's section 3.1.
constexpr const char* kFeatureNames[] = {"t", "n",     "c",       "h",    "w",     "stride",
                                         "k", "flops", "reduced", "rest", "a[t-1]"};
static_assert(std::size(kFeatureNames) == Observation::kSize);

}  // namespace

grpc::Status EnvironmentServiceImpl::CreateEnvironment(grpc::ServerContext*,
                                                       const v1::CreateEnvironmentRequest* request,
                                                       v1::CreateEnvironmentResponse* response) {
  absl::StatusOr<v1::CreateEnvironmentResponse> created = Create(*request);
  if (!created.ok()) return ToGrpcStatus(created.status());
  *response = *std::move(created);
  return grpc::Status::OK;
}

absl::StatusOr<v1::CreateEnvironmentResponse> EnvironmentServiceImpl::Create(
    const v1::CreateEnvironmentRequest& request) {
  AMC_ASSIGN_OR_RETURN(EnvironmentSettings settings,
                       ResolveEnvironment(request.has_budget() ? &request.budget() : nullptr,
                                          request.space(), request.latency()));
  const absl::StatusOr<std::shared_ptr<const Graph>> model = models_->Model(request.model());
  if (!model.ok()) return AtField(model.status(), "model");
  if (const std::string& table = settings.latency.table(); !table.empty()) {
    AMC_RETURN_IF_ERROR(
        AtField(models_->Latency(request.model(), table).status(), "latency.table"));
  }
  AMC_RETURN_IF_ERROR(models_->DecideSpace(request.model(), settings));
  absl::StatusOr<std::unique_ptr<Environment>> made =
      models_->MakeEnvironment(request.model(), settings);
  if (!made.ok()) {
    return AtField(made.status(), absl::IsOutOfRange(made.status()) ? "budget" : "space");
  }
  v1::CreateEnvironmentResponse response;
  response.set_environment(RandomHex(16));
  const Environment& env = **made;
  for (size_t i = 0; i < env.grouping().groups.size(); ++i) {
    v1::EnvironmentGroup* group = response.add_groups();
    group->set_name(env.grouping().groups[i].name);
    group->set_channels(env.grouping().groups[i].channels);
    for (const int64_t choice : env.lattice().choices(i)) group->add_choices(choice);
  }
  for (const char* name : kFeatureNames) response.add_features(name);
  *response.mutable_original_cost() =
      ToProto(env.cost_model().Evaluate(env.cost_model().channels()));
  if (request.has_budget()) response.set_budget_limit(env.bounds()[0].limit);

  auto open = std::make_shared<Open>();
  {
    MutexLock lock(&open->mutex);
    open->env = *std::move(made);
    open->used = clock_->Now();
  }
  MutexLock lock(&mutex_);
  if (open_.size() >= static_cast<size_t>(max_open_)) {
    return absl::ResourceExhaustedError(
        absl::StrCat(open_.size(), " environments are open, no more are allowed: close some"));
  }
  open_[response.environment()] = std::move(open);
  return response;
}

grpc::Status EnvironmentServiceImpl::Reset(grpc::ServerContext*, const v1::ResetRequest* request,
                                           v1::ResetResponse* response) {
  const absl::StatusOr<std::shared_ptr<Open>> open = Find(request->environment());
  if (!open.ok()) return ToGrpcStatus(open.status());
  MutexLock lock(&(*open)->mutex);
  (*open)->used = clock_->Now();
  const Observation observation = (*open)->env->Reset();
  response->mutable_observation()->Assign(observation.features.begin(), observation.features.end());
  return grpc::Status::OK;
}

grpc::Status EnvironmentServiceImpl::Step(grpc::ServerContext*, const v1::StepRequest* request,
                                          v1::StepResponse* response) {
  return ToGrpcStatus(TakeSteps(*request, *response));
}

grpc::Status EnvironmentServiceImpl::StepStream(
    grpc::ServerContext* context,
    grpc::ServerReaderWriter<v1::StepResponse, v1::StepRequest>* stream) {
  absl::StatusOr<StreamGuard::Stream> guarded = streams_->Enter(*context, "StepStream");
  if (!guarded.ok()) return ToGrpcStatus(guarded.status());
  v1::StepRequest request;
  while (stream->Read(&request)) {
    guarded->Moved();
    v1::StepResponse response;
    const absl::Status status = TakeSteps(request, response);
    if (!status.ok()) return ToGrpcStatus(status);
    if (!stream->Write(response)) break;
  }
  return grpc::Status::OK;
}

absl::Status EnvironmentServiceImpl::TakeSteps(const v1::StepRequest& request,
                                               v1::StepResponse& response) {
  AMC_ASSIGN_OR_RETURN(const std::shared_ptr<Open> open, Find(request.environment()));
  MutexLock lock(&open->mutex);
  Environment& env = *open->env;
  open->used = clock_->Now();
  for (int i = 0; i < request.actions_size(); ++i) {
    absl::StatusOr<StepResult> step = env.Step(request.actions(i));
    if (!step.ok()) return AtField(step.status(), absl::StrCat("actions[", i, "]"));
    v1::StepOutcome* outcome = response.add_outcomes();
    outcome->mutable_observation()->Assign(step->observation.features.begin(),
                                           step->observation.features.end());
    outcome->set_executed(step->executed);
    outcome->set_kept(step->kept);
    outcome->set_done(step->done);
  }
  if (env.done()) {
    const Policy policy = env.policy();
    AMC_ASSIGN_OR_RETURN(const std::vector<int64_t> kept, KeptCounts(policy, env.grouping()));
    *response.mutable_policy() = ToProto(policy);
    *response.mutable_cost() = ToProto(env.cost_model().Evaluate(kept));
  }
  return absl::OkStatus();
}

grpc::Status EnvironmentServiceImpl::CloseEnvironment(grpc::ServerContext*,
                                                      const v1::CloseEnvironmentRequest* request,
                                                      v1::CloseEnvironmentResponse*) {
  MutexLock lock(&mutex_);
  open_.erase(request->environment());
  return grpc::Status::OK;
}

void EnvironmentServiceImpl::CloseIdle() {
  const absl::Time oldest = clock_->Now() - idle_limit_;
  MutexLock lock(&mutex_);
  for (auto it = open_.begin(); it != open_.end();) {
    bool idle = false;
    {
      MutexLock open_lock(&it->second->mutex);
      idle = it->second->used < oldest;
    }
    it = idle ? open_.erase(it) : std::next(it);
  }
}

absl::StatusOr<std::shared_ptr<EnvironmentServiceImpl::Open>> EnvironmentServiceImpl::Find(
    const std::string& id) {
  MutexLock lock(&mutex_);
  const auto found = open_.find(id);
  if (found == open_.end()) {
    return absl::NotFoundError(
        absl::StrCat("no environment \"", id, "\" (unused ones are closed)"));
  }
  return found->second;
}

}  // namespace amc
