#include "server/cli/built_table_text.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "server/cli/format.h"
#include "server/rpc/latency_convert.h"

namespace amc {

std::string BuiltTableText(absl::string_view name, const v1::BuiltTable& built, double tolerance,
                           const std::string& model) {
  const v1::LatencyTableInfo& table = built.table();
  std::string text = absl::StrFormat("%s: %d rows, %d measured now, of %s\n", name, table.rows(),
                                     built.measured(), ToString(FromProto(table.setting())));
  if (built.unstable() > 0) {
    absl::StrAppendFormat(&text, "%d rows did not settle within %s: was the machine busy?\n",
                          built.unstable(), Percent(tolerance));
  }
  for (const v1::LatencyFit& fit : table.fits()) {
    if (fit.model() != model) continue;
    absl::StrAppendFormat(&text,
                          "whole networks: predicted within %s (median) and %s (95th percentile) "
                          "of what %d unseen ones took; the same network twice: %s\n",
                          Percent(fit.median_error()), Percent(fit.p95_error()), fit.networks(),
                          Percent(fit.repeatability()));
  }
  absl::StrAppend(&text, "digest ", table.digest(), "\n");
  return text;
}

}  // namespace amc
