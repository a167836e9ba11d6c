// How latency tables come into the store, whether somebody imports them or workers have measured
// them.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "amc/v1/latency.pb.h"
#include "env/cost/latency_table.h"
#include "storage/store.h"

namespace amc {

// ResourceExhausted for a table that one request could not carry: it could not be imported
// elsewhere.
absl::Status CheckLatencyTableSize(const LatencyTable& table);

// Stores `table`, which must be a checked and sorted one, under the digest of its contents. Errors
// as Store::PutLatencyTable.
absl::StatusOr<v1::LatencyTableInfo> StoreLatencyTable(Store& store, const LatencyTable& table,
                                                       absl::Time now);

// LatencyService::ImportLatencyTable.
absl::StatusOr<v1::LatencyTableInfo> ImportLatencyTable(
    Store& store, const v1::ImportLatencyTableRequest& request, absl::Time now);

}  // namespace amc
