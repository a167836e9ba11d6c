// What the store's tests share: a store in a folder of its own, sample messages, a status matcher.
#pragma once

#include <signal.h>
#include <sys/resource.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "storage/message_blob.h"
#include "storage/sqlite.h"
#include "storage/store.h"

namespace amc {

inline absl::Status StatusOf(const absl::Status& status) { return status; }
template <typename T>
absl::Status StatusOf(const absl::StatusOr<T>& result) {
  return result.status();
}

// Of a Status or StatusOr: has `code`, and `text` in its message.
MATCHER_P2(Fails, code, text, "") {
  const absl::Status status = StatusOf(arg);
  *result_listener << status.ToString();
  return status.code() == code && std::string(status.message()).find(text) != std::string::npos;
}
MATCHER(IsOk, "") {
  *result_listener << StatusOf(arg).ToString();
  return StatusOf(arg).ok();
}

// Equal to the last byte.
MATCHER_P(SameAs, message, message.DebugString()) {
  *result_listener << arg.DebugString();
  return ToBlob(arg) == ToBlob(message);
}

// One lease.
inline absl::StatusOr<TaskRecord> LeaseTask(Store& store, const std::string& job, int64_t task,
                                            const std::string& worker,
                                            const std::string& numerics_id, int64_t now_ms,
                                            int64_t expire_ms) {
  const LeaseGrant grant{job, task, worker, numerics_id};
  return store.LeaseTasks({&grant, 1}, now_ms, expire_ms).front();
}

inline v1::Job SampleJob(const std::string& id) {
  v1::Job job;
  job.set_id(id);
  job.set_state(v1::JOB_STATE_QUEUED);
  job.set_best_episode(-1);
  job.set_create_time_ms(1700000000000);
  job.mutable_spec()->set_name("sample");
  job.mutable_spec()->mutable_budget()->set_ratio(0.5);
  job.mutable_spec()->mutable_search()->set_seed(7);
  return job;
}

inline v1::JobEvent SampleEvent(v1::EventKind kind, const std::string& message = "") {
  v1::JobEvent event;
  event.set_time_ms(1700000000001);
  event.set_kind(kind);
  event.set_message(message);
  return event;
}

inline v1::Episode SampleEpisode(const std::string& job, int64_t number, double reward = 0.5) {
  v1::Episode episode;
  episode.set_job(job);
  episode.set_number(number);
  episode.set_state(v1::EPISODE_STATE_DONE);
  v1::Step* step = episode.add_steps();
  step->set_group("layer1.0.conv1");
  step->set_action(0.1 + 0.01 * static_cast<double>(number));
  step->set_executed(0.25);
  step->set_kept(4);
  step->set_channels(16);
  step->add_observation(0.3f);
  v1::Decision* decision = episode.mutable_policy()->add_decisions();
  decision->set_target("layer1.0.conv1");
  decision->set_granularity(v1::GRANULARITY_CHANNEL);
  decision->set_kept(4);
  episode.mutable_cost()->set_macs(20000000 + number);
  episode.mutable_cost()->set_params(100000 - number);
  episode.mutable_measurement()->set_top1(reward);
  episode.mutable_measurement()->set_images(5000);
  *episode.mutable_measurement()->mutable_cost() = episode.cost();
  episode.set_reward(reward);
  episode.set_note("warm-up");
  episode.set_worker("w");
  episode.set_attempts(1);
  episode.set_seconds(0.125);
  episode.set_commit_time_ms(1700000000002);
  return episode;
}

inline TaskRecord SampleTask(const std::string& job, int64_t episode,
                             v1::TaskKind kind = v1::TASK_KIND_EVALUATE) {
  TaskRecord task;
  task.job = job;
  task.kind = kind;
  task.episode = episode;
  *task.policy.add_decisions() = SampleEpisode(job, episode).policy().decisions(0);
  return task;
}

inline v1::TaskResult SampleResult(double top1 = 0.9) {
  v1::TaskResult result;
  result.mutable_measurement()->set_top1(top1);
  result.set_seconds(1.5);
  result.set_numerics_id("avx512");
  return result;
}

inline v1::Artifact SampleArtifact(const std::string& digest, int64_t create_time_ms = 5) {
  v1::Artifact artifact;
  artifact.set_digest(digest);
  artifact.set_size(12);
  artifact.set_kind(v1::ARTIFACT_KIND_MODEL);
  artifact.set_name("net.onnx");
  artifact.set_create_time_ms(create_time_ms);
  return artifact;
}

// No file of this process may grow past a size while this lives: as if the disk were full.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() { setrlimit(RLIMIT_FSIZE, &before_); }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit before_;
};

class StoreTest : public testing::Test {
 protected:
  StoreTest() : folder_(*TempDirectory::Create("amc-store")), path_(folder_.path() + "/amc.db") {
    Open();
  }

  void Open() {
    absl::StatusOr<std::unique_ptr<Store>> store = OpenSqliteStore(path_);
    ASSERT_THAT(store, IsOk());
    store_ = *std::move(store);
  }
  void Reopen() {
    store_.reset();
    Open();
  }
  // A job with one event.
  v1::Job Create(const std::string& id) {
    absl::StatusOr<v1::Job> job = store_->CreateJob(SampleJob(id), "request-" + id, "hash",
                                                    {SampleEvent(v1::EVENT_KIND_STATE)});
    EXPECT_THAT(job, IsOk());
    return job.ok() ? *job : v1::Job();
  }
  void SetState(const std::string& id, v1::JobState state) {
    absl::StatusOr<v1::Job> job = store_->GetJob(id);
    ASSERT_THAT(job, IsOk());
    job->set_state(state);
    ASSERT_THAT(store_->UpdateJob({*job, {}}), IsOk());
  }
  absl::Status Commit(const std::string& id, const std::vector<v1::Episode>& episodes,
                      const std::string& checkpoint = "state") {
    absl::StatusOr<v1::Job> job = store_->GetJob(id);
    if (!job.ok()) return job.status();
    std::vector<v1::JobEvent> events;
    for (const v1::Episode& episode : episodes) {
      events.push_back(SampleEvent(v1::EVENT_KIND_EPISODE));
      *events.back().mutable_episode() = episode;
      events.back().mutable_episode()->clear_steps();
    }
    job->set_episodes_done(job->episodes_done() + static_cast<int64_t>(episodes.size()));
    return store_->CommitGeneration({*job, events}, episodes, checkpoint);
  }

  // One number, read beside the store: what no method of it tells.
  int64_t Sql(const std::string& query) {
    const auto database = sqlite::Database::Open(path_, sqlite::Database::Mode::kReadOnly);
    EXPECT_THAT(database, IsOk());
    return database.ok() ? *(*database)->QueryInt(query) : -1;
  }

  TempDirectory folder_;
  std::string path_;
  std::unique_ptr<Store> store_;
};

}  // namespace amc
