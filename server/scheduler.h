// Who computes what next, for how long, and what becomes of an attempt that failed.
//
// Pure functions of snapshots: no clock, no lock, no store. task_board.h takes the snapshots and
// carries the decisions out.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "absl/types/span.h"
#include "amc/v1/job.pb.h"
#include "amc/v1/worker.pb.h"
#include "storage/store.h"

namespace amc {

// What the scheduler knows of a worker that asks for a task.
struct WorkerView {
  std::string uuid;
  v1::WorkerCapabilities capabilities;
};

// What it knows of a job with open tasks.
struct JobView {
  std::string id;
  v1::EvaluationSpec evaluation;
  v1::Requirements requirements = {};
  std::string numerics_id;  // fixed by the first lease; empty before
  int64_t priority = 0;     // higher ones first
  int64_t last_grant = 0;   // number of the grant that it got last, over all jobs; 0: none
  int64_t leased = 0;       // tasks under lease, or about to be
  int64_t max_leased = 0;   // 0: any number
  struct PendingTask {
    int64_t task = 0;
    int64_t not_before_ms = 0;  // backoff
    // What it times on; null for other tasks. The board's, which outlives the view.
    const v1::LatencySetting* timing = nullptr;
  };
  std::vector<PendingTask> pending = {};  // ascending by task
};

// Whether the worker has what the job's evaluations need: device, threads, memory, runtime, and the
// numerics of the job's earlier measurements.
bool Matches(const JobView& job, const WorkerView& worker);
// Whether it can time networks so: the setting's device, runtime and version (any where empty), and
// as many threads.
bool Measures(const v1::WorkerCapabilities& worker, const v1::LatencySetting& setting);

struct Assignment {
  size_t job = 0;  // index into the jobs given
  int64_t task = 0;
  std::string numerics_id;  // empty for a task that times, and fixes none
};

// The next task for a worker: of the matching jobs with a task that is due and fewer leases than
// they may have, those of the highest priority; among these the one whose last grant is longest ago
// (the earlier in `jobs` on a tie), so that jobs take turns; in it the first due task that the
// worker fits.
std::optional<Assignment> PickTask(absl::Span<const JobView> jobs, const WorkerView& worker,
                                   int64_t now_ms);

// Why none of the workers can take the job's tasks, for people: "no worker is connected", "1 worker
// is connected, none with device cuda". Empty if one can, now or when it is free.
std::string WhyNoWorkerFits(const JobView& job, absl::Span<const WorkerView> workers);

// When the next task that waits for its backoff comes due; nullopt if none waits.
std::optional<int64_t> NextDue(absl::Span<const JobView> jobs, int64_t now_ms);

// What becomes of a task whose attempt ended without a result.
struct RetryPolicy {
  int64_t max_attempts = 3;  // that failed; that crashed their worker
  int64_t max_lost = 100;    // machines and networks go for reasons of their own
  absl::Duration backoff = absl::Seconds(1);
  absl::Duration max_backoff = absl::Seconds(60);
  absl::Duration max_lost_backoff = absl::Seconds(5);  // a lost lease has cost a term already
};
// A task's earlier attempts that count.
struct AttemptCounts {
  int64_t lost = 0, failed = 0, crashed = 0;
};
struct RetryDecision {
  bool retry = false;
  int64_t not_before_ms = 0;
  v1::FailureReason failure = v1::FAILURE_REASON_UNSPECIFIED;  // of the job, without retry
};

// `outcome` and `error` say how the present attempt ended. A cancelled one (drain, goodbye, a
// process killed from outside) counts for nothing. A lost worker, a worker's own trouble and a
// crash are tried again, later each time, and counted apart: a worker that went silent says nothing
// of its task, so that only reported crashes put a candidate under quarantine. A permanent error
// ends the job at once.
RetryDecision DecideRetry(const RetryPolicy& policy, const AttemptCounts& counts,
                          AttemptOutcome outcome, const v1::TaskError& error, int64_t now_ms);

// Leases whose term is over.
struct LeaseView {
  std::string job;
  int64_t task = 0;
  int64_t epoch = 0;
  int64_t expire_ms = 0;
};
std::vector<LeaseView> Expired(absl::Span<const LeaseView> leases, int64_t now_ms);

// Whether a renewal has to reach the disk: only once half the term that is stored is used up, so
// that heartbeats cost no sync each. A restarted server gives every lease a fresh term anyway.
bool MustStoreRenewal(int64_t stored_expire_ms, int64_t now_ms, absl::Duration term);

}  // namespace amc
