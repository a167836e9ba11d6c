#include "env/cost/latency_table.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "env/cost/latency_checks.h"

namespace amc {
namespace {

absl::Status CheckSetting(const LatencySetting& setting) {
  AMC_RETURN_IF_ERROR(CheckLatencyText("device", setting.device));
  AMC_RETURN_IF_ERROR(CheckLatencyText("runtime", setting.runtime));
  AMC_RETURN_IF_ERROR(CheckLatencyText("version", setting.version));
  if (setting.device.empty()) return absl::InvalidArgumentError("device is empty");
  if (setting.runtime.empty()) return absl::InvalidArgumentError("runtime is empty");
  AMC_RETURN_IF_ERROR(CheckAtLeastOne("threads", setting.threads));
  return CheckAtLeastOne("batch", setting.batch);
}

absl::Status CheckFits(const std::vector<LatencyFit>& fits) {
  absl::flat_hash_map<absl::string_view, size_t> number_of;
  for (size_t f = 0; f < fits.size(); ++f) {
    AMC_RETURN_IF_ERROR(Annotate(CheckLatencyFit(fits[f]), absl::StrCat("fit ", f + 1)));
    const auto [found, is_new] = number_of.emplace(fits[f].model, f + 1);
    if (!is_new) {
      return absl::InvalidArgumentError(absl::StrCat(
          "fit ", f + 1, ": the model ", fits[f].model.empty() ? "\"any\"" : fits[f].model,
          " is in fit ", found->second, " already"));
    }
  }
  return absl::OkStatus();
}

// Of rows of both tables; unknown if one is.
double CommonTolerance(const LatencyTable& a, const LatencyTable& b) {
  if (a.rows.empty()) return b.tolerance;
  if (b.rows.empty()) return a.tolerance;
  return a.tolerance == 0 || b.tolerance == 0 ? 0 : std::max(a.tolerance, b.tolerance);
}

}  // namespace

std::string ToString(const LatencySetting& setting) {
  return absl::StrCat(setting.runtime, setting.version.empty() ? "" : " ", setting.version,
                      setting.device.empty() ? "" : " on ", setting.device, ", ", setting.threads,
                      setting.threads == 1 ? " thread" : " threads", ", batch ", setting.batch);
}

bool IsDepthwiseKind(absl::string_view kind) { return absl::StartsWith(kind, "depthwise "); }

absl::Status CheckLatencyTable(const LatencyTable& table) {
  AMC_RETURN_IF_ERROR(CheckSetting(table.setting));
  AMC_RETURN_IF_ERROR(CheckLatencyDate(table.date));
  AMC_RETURN_IF_ERROR(CheckNotNegative("tolerance", table.tolerance));
  AMC_RETURN_IF_ERROR(CheckFits(table.fits));
  if (table.rows.size() > kMaxLatencyRows) {
    return absl::InvalidArgumentError(
        absl::StrCat("a table of ", table.rows.size(), " rows, want at most ", kMaxLatencyRows));
  }
  for (size_t r = 0; r < table.rows.size(); ++r) {
    const absl::Status status = CheckLatencyRow(table.rows[r]);
    if (status.ok()) continue;
    const bool is_kind_good = CheckLatencyText("layer", table.rows[r].layer).ok();
    return Annotate(status, is_kind_good ? absl::StrCat("row ", r + 1, ": ", table.rows[r].layer)
                                         : absl::StrCat("row ", r + 1));
  }
  return CheckLatencyGrids(table.rows, "row", 1);
}

void SortLatencyTable(LatencyTable& table) {
  std::stable_sort(table.rows.begin(), table.rows.end(),
                   [](const LatencyRow& a, const LatencyRow& b) {
                     return std::tie(a.layer, a.in, a.out) < std::tie(b.layer, b.in, b.out);
                   });
  std::stable_sort(table.fits.begin(), table.fits.end(),
                   [](const LatencyFit& a, const LatencyFit& b) { return a.model < b.model; });
}

absl::StatusOr<LatencyTable> ExtendLatencyTable(const LatencyTable& table,
                                                const LatencyTable& more) {
  std::vector<std::string> differences;
  const auto compare = [&](absl::string_view field, const auto& old_value, const auto& new_value) {
    if (old_value == new_value) return;
    differences.push_back(absl::StrCat(field, " is ", old_value, ", not ", new_value));
  };
  compare("device", table.setting.device, more.setting.device);
  compare("runtime", table.setting.runtime, more.setting.runtime);
  compare("version", table.setting.version, more.setting.version);
  compare("threads", table.setting.threads, more.setting.threads);
  compare("batch", table.setting.batch, more.setting.batch);
  if (!differences.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("times of different settings do not mix: ", absl::StrJoin(differences, "; ")));
  }

  LatencyTable result = more;
  result.tolerance = CommonTolerance(table, more);
  absl::flat_hash_set<std::tuple<absl::string_view, int64_t, int64_t>> keys;
  for (const LatencyRow& row : more.rows) keys.emplace(row.layer, row.in, row.out);
  for (const LatencyRow& row : table.rows) {
    if (!keys.contains(std::tuple(absl::string_view(row.layer), row.in, row.out))) {
      result.rows.push_back(row);
    }
  }
  for (const LatencyFit& fit : table.fits) {
    const bool is_replaced =
        std::any_of(more.fits.begin(), more.fits.end(),
                    [&fit](const LatencyFit& newer) { return newer.model == fit.model; });
    if (!is_replaced) result.fits.push_back(fit);
  }
  SortLatencyTable(result);
  AMC_RETURN_IF_ERROR(CheckLatencyTable(result));
  return result;
}

}  // namespace amc
