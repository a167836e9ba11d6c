// Latency tables as people read them: `amc lut`.
#pragma once

#include <string>

#include "amc/v1/job.pb.h"
#include "amc/v1/latency.pb.h"
#include "env/cost/latency_table.h"

namespace amc {

// As many digits of a table's digest as lists show; callers may type fewer, down to 6.
std::string ShortDigest(const std::string& digest);

// "5,012 rows of 34 layers, libtorch 1.13.1 on AMD EPYC 9R14, 1 thread, batch 1"
std::string LatencySummary(const v1::LatencyTableInfo& info);

// One line a table.
std::string LatencyListText(const v1::ListLatencyTablesResponse& list);

// Setting, layers with the channels and times that they were measured at (every row of them with
// `rows`), fits with their errors.
std::string LatencyTableText(const LatencyTable& table, bool rows);

// Whether a result keeps its latency budget in reality, in a few lines: predicted, measured, the
// difference and what the table's predictions were off by elsewhere.
std::string LatencyCheckText(const v1::LatencyCheck& check);

}  // namespace amc
