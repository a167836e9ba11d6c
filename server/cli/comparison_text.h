// A comparison for people (tables, a chart) and for programs (compare.json, compare.csv).
#pragma once

#include <string>

#include "server/cli/comparison.h"

namespace amc {

// One row an agent, the first agent's differences to the others, the curves.
std::string ComparisonText(const Comparison& comparison);

// One object:
//   model, data: sha256; budget: a v1.Budget; images: of the report split
//   bootstrap: {resamples, confidence}
//   agents: [{agent, name, evaluations, spent, work, reward, top1_drop, kl, runs}], where the last
//     two and every difference are {mean, low, high}, and runs are [{seed, job, model, spent, work,
//     reward, top1, top1_original, kl, macs, params, curve: [{evaluations, work, reward}]}]
//   differences: [{agent, other, kl, top1}], with excludes_zero beside the interval
// `spent` and `curve.evaluations` count full evaluations, `work` multiply-accumulates, top1_drop
// and differences of top1 points, kl nats.
std::string ComparisonJson(const Comparison& comparison);

// A line a run, after one with the columns' names.
std::string ComparisonCsv(const Comparison& comparison);

}  // namespace amc
