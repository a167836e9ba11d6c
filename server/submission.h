// What is checked before a job is accepted, so that it does not fail later for a reason that was
// known: the spec, the artifacts, the budget, the agent's settings, whether model and data fit.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "amc/v1/job.pb.h"
#include "env/exec/data_pack.h"
#include "server/model_cache.h"
#include "storage/artifact_store.h"
#include "storage/store.h"

namespace amc {

// A job ready to be stored as QUEUED: resolved spec, original cost, budget, work of an evaluation;
// id and times are the caller's. InvalidArgument with field paths; NotFound for artifacts that are
// not uploaded; OutOfRange for a budget out of reach.
absl::StatusOr<v1::Job> PrepareJob(const v1::JobSpec& spec, Store& store,
                                   const ArtifactStore& artifacts, ModelCache& models);

// Whether a job's history is final, as far as a job can be that may be resumed. FailedPrecondition,
// or the error that came instead of the job.
absl::Status CheckEnded(const absl::StatusOr<v1::Job>& job);

// Refuses a baseline near chance: JobError(WEAK_BASELINE) whose message says what the data pack
// states and what to look at. Chance is the share of the commonest class among the reward labels
// (at least 1/classes); near is less than 15% of the way from chance to perfect, or within three
// standard deviations of chance on that many images.
absl::Status CheckBaseline(const v1::Measurement& baseline, const DataPack& pack);

// The bound that CheckBaseline compares with.
double WeakBaselineBound(double chance, int64_t images);

}  // namespace amc
