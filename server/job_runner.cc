#include "server/job_runner.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "agent/fit.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "base/utf8.h"
#include "server/convert.h"
#include "server/job_error.h"
#include "server/job_settings.h"
#include "server/rpc/on_latency.h"
#include "server/rpc/waiting.h"
#include "server/submission.h"
#include "server/winner.h"

namespace amc {

void JobRunner::Run(const std::string& id) {
  const absl::StatusOr<v1::Job> job = context_.store->GetJob(id);
  if (!job.ok()) {
    AMC_LOG(kError) << "job " << id << ": " << job.status();
    return;
  }
  job_ = *job;
  absl::Status status = context_.board->OpenJob(job_);
  if (status.ok()) status = Work();
  if (control_->stopping && !status.ok()) {
    AMC_LOG(kInfo) << "job " << id << " stays at episode " << job_.episodes_done()
                   << " until the server starts again";
    return;
  }
  context_.board->CloseJob(id);
  if (status.ok()) return;
  job_.set_end_time_ms(absl::ToUnixMillis(context_.clock->Now()));
  if (control_->cancelled) {
    job_.set_state(v1::JOB_STATE_CANCELLED);
  } else {
    job_.set_state(v1::JOB_STATE_FAILED);
    job_.set_failure(ReasonOf(status));
    job_.set_message(ToUtf8(status.message()));
    AMC_LOG(kError) << "job " << id << " failed: " << status;
  }
  const absl::Status stored = Update({MakeEvent(v1::EVENT_KIND_STATE)});
  if (!stored.ok()) AMC_LOG(kError) << "job " << id << ": " << stored;
}

absl::Status JobRunner::Work() {
  AMC_RETURN_IF_ERROR(CheckGoing());  // told to stop before the board knew the job
  const v1::JobSpec& spec = job_.spec();
  if (spec.has_build()) return MakeTable();
  AMC_ASSIGN_OR_RETURN(env_, context_.models->MakeEnvironment(spec.model(), SettingsOf(spec)));
  if (job_.start_time_ms() == 0) {
    job_.set_start_time_ms(absl::ToUnixMillis(context_.clock->Now()));
  }
  if (!job_.has_baseline()) AMC_RETURN_IF_ERROR(Baseline());
  AMC_ASSIGN_OR_RETURN(
      search_, Search::Create(env_->Clone(), ToSearchOptions(spec, job_.baseline().images())));
  job_.set_evaluation_work(search_->evaluation_work());
  const absl::StatusOr<std::string> checkpoint = context_.store->Checkpoint(job_.id());
  if (checkpoint.ok()) {
    AMC_RETURN_IF_ERROR(Annotate(search_->RestoreState(*checkpoint), "checkpoint"));
  } else if (absl::IsNotFound(checkpoint.status())) {
    AMC_RETURN_IF_ERROR(Remember());
  } else {
    return checkpoint.status();
  }
  AMC_RETURN_IF_ERROR(SearchLoop());
  return Finish();
}

// What the jobs that it is to learn from have found, by this job's reward. Once the first
// generation is committed, its checkpoint has it.
absl::Status JobRunner::Remember() {
  for (const std::string& id : job_.spec().search().learn_from()) {
    AMC_RETURN_IF_ERROR(Annotate(CheckEnded(context_.store->GetJob(id)), "search.learn_from"));
    v1::ListEpisodesRequest request;
    request.set_job(id);
    request.set_page_size(1000);
    request.set_with_steps(true);
    do {
      AMC_ASSIGN_OR_RETURN(const v1::ListEpisodesResponse page,
                           context_.store->ListEpisodes(request));
      for (const v1::Episode& episode : page.episodes()) {
        if (episode.state() != v1::EPISODE_STATE_DONE) continue;
        search_->Remember(FromProto(episode, *env_), FromProto(episode.measurement()));
      }
      request.set_page_token(page.next_page_token());
    } while (!request.page_token().empty());
  }
  return absl::OkStatus();
}

absl::Status JobRunner::Baseline() {
  AMC_RETURN_IF_ERROR(Enter(v1::JOB_STATE_BASELINE));
  TaskRecord task;
  task.kind = v1::TASK_KIND_BASELINE;
  AMC_ASSIGN_OR_RETURN(task, RunTask(task));
  const v1::Measurement& baseline = task.result->measurement();
  if (!job_.spec().allow_weak_baseline()) {
    AMC_ASSIGN_OR_RETURN(const std::string path, context_.artifacts->Path(job_.spec().data()));
    AMC_ASSIGN_OR_RETURN(const std::unique_ptr<DataPack> pack, DataPack::Open(path));
    AMC_RETURN_IF_ERROR(CheckBaseline(baseline, *pack));
  }
  *job_.mutable_baseline() = baseline;
  v1::JobEvent event = MakeEvent(v1::EVENT_KIND_BASELINE);
  *event.mutable_baseline() = baseline;
  return Update({event});
}

absl::Status JobRunner::SearchLoop() {
  if (search_->done()) return absl::OkStatus();
  AMC_RETURN_IF_ERROR(Enter(v1::JOB_STATE_SEARCHING));
  while (!search_->done()) AMC_RETURN_IF_ERROR(Generation());
  return absl::OkStatus();
}

absl::Status JobRunner::Generation() {
  AMC_RETURN_IF_ERROR(CheckGoing());
  AMC_ASSIGN_OR_RETURN(const std::vector<Episode> drawn, search_->Draw());
  return drawn.empty() ? absl::OkStatus() : Evaluate(drawn);
}

absl::Status JobRunner::Evaluate(const std::vector<Episode>& drawn) {
  std::vector<Candidate> candidates;
  candidates.reserve(drawn.size());
  for (const Episode& episode : drawn) candidates.push_back({episode.policy, episode.images});
  RemoteEvaluator evaluator(context_.board, &job_, drawn.front().number);
  absl::StatusOr<std::vector<Measurement>> measurements;
  AMC_RETURN_IF_ERROR(Persist([&] {  // adding tasks writes
    measurements = evaluator.Evaluate(candidates);
    return measurements.status();
  }));
  AMC_ASSIGN_OR_RETURN(const std::vector<EvaluatedEpisode> evaluated,
                       search_->Commit(drawn, *measurements));

  std::vector<v1::Episode> episodes;
  JobUpdate update{.job = job_, .events = {}};  // job_ itself changes once that is stored
  v1::Job& job = update.job;
  job.set_episodes_done(search_->next_episode());
  job.set_evaluations_spent(search_->spent());
  if (search_->best().has_value()) {
    job.set_best_reward(search_->best()->reward);
    job.set_best_episode(search_->best()->episode.number);
  }
  for (size_t i = 0; i < evaluated.size(); ++i) {
    const TaskRecord& task = evaluator.tasks()[i];
    v1::Episode episode = ToProto(evaluated[i], *env_);
    episode.set_job(job_.id());
    episode.set_worker(task.worker);
    episode.set_attempts(task.epoch);
    episode.set_seconds(task.result->seconds());
    episode.set_reused(task.reused());
    if (task.reused()) job.set_episodes_reused(job.episodes_reused() + 1);
    episode.set_commit_time_ms(absl::ToUnixMillis(context_.clock->Now()));
    v1::JobEvent event = MakeEvent(v1::EVENT_KIND_EPISODE, job);
    *event.mutable_episode() = episode;
    event.mutable_episode()->clear_steps();
    update.events.push_back(std::move(event));
    episodes.push_back(std::move(episode));
  }
  job.set_numerics_id(context_.board->NumericsId(job_.id()));
  const std::string state = search_->SaveState();
  AMC_RETURN_IF_ERROR(
      Persist([&] { return context_.store->CommitGeneration(update, episodes, state); }));
  job_ = std::move(update.job);
  context_.board->Forget(job_.id(), evaluator.tasks());
  context_.hub->Notify(job_.id());
  return absl::OkStatus();
}

absl::Status JobRunner::Finish() {
  AMC_RETURN_IF_ERROR(CheckGoing());
  AMC_RETURN_IF_ERROR(Enter(v1::JOB_STATE_FINISHING));
  if (!search_->best().has_value()) {
    return JobError(v1::FAILURE_REASON_INFEASIBLE,
                    absl::StrCat("none of the ", job_.episodes_done(),
                                 " candidates could be measured; `amc history` has the reasons"));
  }
  v1::LatencyCheck latency;
  AMC_ASSIGN_OR_RETURN(const v1::Episode winner, ChooseWinner(latency));
  AMC_ASSIGN_OR_RETURN(*job_.mutable_result(), FinishEpisode(winner.number(), winner.policy()));
  v1::JobResult& result = *job_.mutable_result();
  *result.mutable_steps() = winner.steps();
  if (latency.has_setting()) *result.mutable_latency() = latency;
  job_.clear_series();
  for (const int64_t number : search_->series()) {
    if (number == result.episode()) {
      *job_.add_series() = result;
      continue;
    }
    AMC_ASSIGN_OR_RETURN(const v1::Episode episode, context_.store->GetEpisode(job_.id(), number));
    AMC_ASSIGN_OR_RETURN(v1::JobResult step, FinishEpisode(number, episode.policy()));
    *step.mutable_steps() = episode.steps();
    for (v1::Step& decision : *step.mutable_steps()) decision.clear_observation();
    *job_.add_series() = std::move(step);
  }
  job_.set_state(v1::JOB_STATE_SUCCEEDED);
  job_.set_end_time_ms(absl::ToUnixMillis(context_.clock->Now()));
  v1::JobEvent event = MakeEvent(v1::EVENT_KIND_RESULT);
  *event.mutable_result() = result;
  AMC_RETURN_IF_ERROR(Update({std::move(event), MakeEvent(v1::EVENT_KIND_STATE)}));
  AMC_LOG(kInfo) << "job " << job_.id() << " succeeded: episode " << result.episode() << ", "
                 << absl::StrFormat("top-1 %.2f%% of %.2f%%", 100 * result.compressed().top1(),
                                    100 * result.original().top1());
  return absl::OkStatus();
}

absl::StatusOr<v1::Episode> JobRunner::ChooseWinner(v1::LatencyCheck& latency) {
  if (!IsOnLatency(job_.spec())) return ToProto(*search_->best(), *env_);
  if (job_.spec().space().has_sparsity()) {
    AMC_ASSIGN_OR_RETURN(const v1::LatencyTableInfo table,
                         context_.store->FindLatencyTable(job_.spec().latency().table()));
    *latency.mutable_setting() = table.setting();
    latency.set_unmeasured("these times are simulated");
    const CostFunction& cost = *env_->resource_cost(Resource::kLatency);
    latency.set_predicted_us(
        static_cast<double>(CostOf(*env_, cost, search_->best()->episode.policy)) / 1000);
    return ToProto(*search_->best(), *env_);
  }
  WinnerChoice choice(&job_, {.store = context_.store,
                              .models = context_.models,
                              .workers = context_.workers,
                              .run = [this](const TaskRecord& task) { return RunTask(task); },
                              .evaluate = [this](const std::vector<std::vector<int64_t>>& kept,
                                                 const std::string& note) -> absl::Status {
                                AMC_ASSIGN_OR_RETURN(const std::vector<Episode> episodes,
                                                     search_->Append(kept, note));
                                return Evaluate(episodes);
                              },
                              .say = [this](const std::string& message) { Say(message); },
                              .check_going = [this] { return CheckGoing(); }});
  AMC_ASSIGN_OR_RETURN(WinnerChoice::Winner winner, choice.Choose());
  for (v1::Step& step : *winner.episode.mutable_steps()) step.clear_observation();
  latency = std::move(winner.check);
  return std::move(winner.episode);
}

absl::StatusOr<v1::JobResult> JobRunner::FinishEpisode(int64_t number, const v1::Policy& policy) {
  TaskRecord task;
  task.kind = v1::TASK_KIND_FINISH;
  task.episode = number;
  task.policy = policy;
  AMC_ASSIGN_OR_RETURN(task, RunTask(task));
  v1::JobResult result = task.result->result();
  result.set_episode(number);
  AMC_ASSIGN_OR_RETURN(*result.mutable_uses(), UsesOf(policy));
  return result;
}

absl::StatusOr<google::protobuf::RepeatedPtrField<v1::ResourceUse>> JobRunner::UsesOf(
    const v1::Policy& policy) {
  const v1::JobSpec& spec = job_.spec();
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<Environment> env,
                       context_.models->MakeEnvironment(spec.model(), SettingsOf(spec)));
  AMC_ASSIGN_OR_RETURN(const std::vector<int64_t> kept,
                       KeptCounts(FromProto(policy), env->grouping()));
  google::protobuf::RepeatedPtrField<v1::ResourceUse> uses;
  const auto add = [&](Resource resource, const CostFunction& cost, int64_t limit) {
    v1::ResourceUse& use = *uses.Add();
    use.set_resource(static_cast<v1::Resource>(resource));
    use.set_original(cost.Evaluate(env->cost_model().channels()));
    use.set_limit(limit);
    use.set_compressed(cost.Evaluate(kept));
  };
  if (spec.has_budget()) {
    for (const CostBound& bound : env->bounds()) add(bound.resource, *bound.cost, bound.limit);
  } else if (const std::optional<Resource> weighed =
                 WeighedResource(static_cast<RewardKind>(spec.search().reward()))) {
    if (const CostFunction* const cost = env->resource_cost(*weighed)) add(*weighed, *cost, 0);
  }
  return uses;
}

absl::StatusOr<TaskRecord> JobRunner::RunTask(const TaskRecord& task) {
  absl::StatusOr<std::vector<TaskRecord>> tasks;
  AMC_RETURN_IF_ERROR(Persist([&] {
    tasks = context_.board->Run(job_.id(), {task});
    return tasks.status();
  }));
  return std::move(tasks->front());
}

absl::Status JobRunner::Update(std::vector<v1::JobEvent> events) {
  // The first lease fixed it in the store, which takes the job whole from here.
  const std::string numerics_id = context_.board->NumericsId(job_.id());
  if (!numerics_id.empty()) job_.set_numerics_id(numerics_id);
  const JobUpdate update{.job = job_, .events = std::move(events)};
  AMC_RETURN_IF_ERROR(Persist([&] { return context_.store->UpdateJob(update); }));
  context_.hub->Notify(job_.id());
  return absl::OkStatus();
}

absl::Status JobRunner::Enter(v1::JobState state) {
  if (job_.state() == state) return absl::OkStatus();
  job_.set_state(state);
  AMC_LOG(kInfo) << "job " << job_.id() << ": " << v1::JobState_Name(state);
  return Update({MakeEvent(v1::EVENT_KIND_STATE)});
}

v1::JobEvent JobRunner::MakeEvent(v1::EventKind kind) const { return MakeEvent(kind, job_); }

v1::JobEvent JobRunner::MakeEvent(v1::EventKind kind, const v1::Job& job) const {
  v1::JobEvent event;
  event.set_kind(kind);
  event.set_time_ms(absl::ToUnixMillis(context_.clock->Now()));
  event.set_state(job.state());
  event.set_best_reward(job.best_reward());
  event.set_best_episode(job.best_episode());
  event.set_evaluations_spent(job.evaluations_spent());
  event.set_message(job.message());
  return event;
}

absl::Status JobRunner::Persist(const std::function<absl::Status()>& write) {
  absl::Duration wait = absl::Milliseconds(200);
  while (true) {
    absl::Status status = write();
    if (!absl::IsResourceExhausted(status) && !absl::IsUnavailable(status)) return status;
    if (control_->stopping || control_->cancelled) return status;
    AMC_LOG(kWarning) << "job " << job_.id() << " waits to store its state: " << status;
    Say(absl::StrCat(kWaitingToStore, std::string(status.message())));
    const absl::Time until = absl::Now() + wait;
    while (absl::Now() < until) {
      if (control_->stopping || control_->cancelled) return status;
      absl::SleepFor(absl::Milliseconds(50));
    }
    wait = std::min(2 * wait, absl::Seconds(10));
  }
}

void JobRunner::Say(const std::string& message) const {
  v1::JobEvent event = MakeEvent(v1::EVENT_KIND_PROGRESS);
  event.set_message(message);
  context_.hub->Progress(job_.id(), event);
}

absl::Status JobRunner::CheckGoing() const {
  if (control_->stopping) return absl::UnavailableError("the server is shutting down");
  if (control_->cancelled) return absl::CancelledError("cancelled");
  return absl::OkStatus();
}

}  // namespace amc
