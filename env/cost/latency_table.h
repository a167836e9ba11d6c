// How long layers take on a device: what latency is predicted from.
//
// A layer is what a runtime runs as one: a convolution or linear layer with its bias and the
// activation after it. Layers that differ in their channels alone are one *kind* (LatencyLayer in
// latency_layers.h has its text); a table has, for each kind, a full grid of input and output
// channels with the time measured at each point. Depthwise convolutions have `in` equal to `out`.
//
// What layers alone miss (other operators, memory traffic, call overhead) is a linear model fitted
// to whole networks, with the error that it made on networks that it had not seen.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace amc {

// Kernels are made for blocks of 8 channels: other counts can take twice as long as the next
// multiple. Tables hold multiples of it and searches on latency keep them, unless told otherwise.
inline constexpr int64_t kLatencyChannelMultiple = 8;

// As a setting's device: times that nobody measured, of a cycle model (env/sparse_latency.h).
inline constexpr char kSimulatedDevice[] = "simulated";

// Where and how times were taken. Those of different settings never mix.
struct LatencySetting {
  std::string device;   // the machine's processor, "AMD EPYC 9R14", "Pixel 7"
  std::string runtime;  // "libtorch", "onnxruntime", "opencv", or a foreign one's name
  std::string version;  // of the runtime
  int64_t threads = 1;
  int64_t batch = 1;
  friend bool operator==(const LatencySetting&, const LatencySetting&) = default;
};
// "libtorch 1.13.1 on AMD EPYC 9R14, 1 thread, batch 1"; without what is empty.
std::string ToString(const LatencySetting& setting);

struct LatencyRow {
  std::string layer;     // its kind; no commas or quotes
  int64_t in = 0;        // channels that the convolution or linear layer reads
  int64_t out = 0;       // and makes
  double median_us = 0;  // microseconds
  double spread_us = 0;  // interquartile range of the single times
  friend bool operator==(const LatencyRow&, const LatencyRow&) = default;
};

// time = layers * (sum of the layers' times) + byte_us * (bytes that all other operators read and
// write) + channel_us * (channels that all layers make) + constant_us, of the pruned versions of
// one network.
struct LatencyFit {
  // sha256 of its ONNX file, in hexadecimal digits; empty: of any network that has no other.
  std::string model = {};
  double layers = 1;
  double byte_us = 0;
  double channel_us = 0;
  double constant_us = 0;
  // |predicted - measured| / measured on networks that the fit had not seen; 0 networks: unknown.
  int64_t networks = 0;
  double median_error = 0;
  double p95_error = 0;
  double repeatability = 0;  // the same between two measurements of one network, median
  friend bool operator==(const LatencyFit&, const LatencyFit&) = default;
};

struct LatencyTable {
  LatencySetting setting;
  std::string date;      // ISO 8601, when it was last extended; empty: unknown
  double tolerance = 0;  // to which medians were measured, relative; 0: unknown
  std::vector<LatencyRow> rows = {};
  std::vector<LatencyFit> fits = {};
  friend bool operator==(const LatencyTable&, const LatencyTable&) = default;
};

// Whether `in` equals `out`, so that the kind's grid is one-dimensional.
bool IsDepthwiseKind(absl::string_view kind);

// InvalidArgument names the row ("row 7: conv 3x3 ...: median_us is -1, want above 0") for times
// that are not finite or positive, spreads that are not finite or negative, channels below 1, keys
// twice, grids with a point missing, kinds that CSV cannot hold, more than a million rows; for
// settings without device or runtime, threads or batch below 1, fits twice, not finite or of what
// is no sha256; for texts of more than 1 KiB, with control characters or blanks at their ends.
absl::Status CheckLatencyTable(const LatencyTable& table);

// Rows sorted by layer, in, out and fits by model: what every writer below does first.
void SortLatencyTable(LatencyTable& table);

// A table, which must be a checked one, as CSV (docs/formats.md). `#` lines at the top carry the
// setting and the fits, the last line the number of rows, so that a truncated file is found out.
std::string WriteLatencyCsv(const LatencyTable& table);
// InvalidArgument gives line and reason. The result is checked and sorted.
absl::StatusOr<LatencyTable> ReadLatencyCsv(absl::string_view text);

// sha256 of the sorted table's CSV: its version.
std::string LatencyDigest(const LatencyTable& table);

// `table` with the rows and fits of `more`, which win where both have a key, and its date; sorted.
// The tolerance is the larger one, unknown if either is. Neither needs full grids by itself.
// FailedPrecondition where their settings differ, naming what differs; InvalidArgument as
// CheckLatencyTable where the two together are no good table.
absl::StatusOr<LatencyTable> ExtendLatencyTable(const LatencyTable& table,
                                                const LatencyTable& more);

}  // namespace amc
