// Latency tables between the wire and the core, for the server that stores them and the command
// line that reads and writes their files. Conversion does not check: CheckLatencyTable does.
#pragma once

#include "amc/v1/latency.pb.h"
#include "env/cost/latency_table.h"

namespace amc {

v1::LatencySetting ToProto(const LatencySetting& setting);
v1::LatencyRow ToProto(const LatencyRow& row);
v1::LatencyTable ToProto(const LatencyTable& table);

LatencySetting FromProto(const v1::LatencySetting& setting);
LatencyRow FromProto(const v1::LatencyRow& row);
LatencyTable FromProto(const v1::LatencyTable& table);

// All that can be said of a checked table without its rows; import_time_ms stays 0.
v1::LatencyTableInfo DescribeLatencyTable(const LatencyTable& table);

}  // namespace amc
