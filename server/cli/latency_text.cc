#include "server/cli/latency_text.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "server/cli/format.h"
#include "server/cli/table.h"
#include "server/rpc/latency_convert.h"

namespace amc {
namespace {

constexpr size_t kShownDigits = 12;
constexpr size_t kShownColumns = 40;  // of a device's name in a list

std::string Microseconds(double us) { return absl::StrFormat("%.2f", us); }

std::string Plural(int64_t count, absl::string_view what) {
  return absl::StrCat(count, " ", what, count == 1 ? "" : "s");
}

// "8 - 64", of one value only that.
std::string Range(int64_t low, int64_t high) {
  return low == high ? absl::StrCat(low) : absl::StrCat(low, " - ", high);
}

// Where a layer was measured and how long it took there.
struct LayerRange {
  int64_t rows = 0;
  LatencyRow low, high;  // of each field for itself
};

LayerRange RangeOf(absl::Span<const LatencyRow> rows) {
  LayerRange range{static_cast<int64_t>(rows.size()), rows.front(), rows.front()};
  for (const LatencyRow& row : rows) {
    range.low.in = std::min(range.low.in, row.in);
    range.low.out = std::min(range.low.out, row.out);
    range.low.median_us = std::min(range.low.median_us, row.median_us);
    range.high.in = std::max(range.high.in, row.in);
    range.high.out = std::max(range.high.out, row.out);
    range.high.median_us = std::max(range.high.median_us, row.median_us);
  }
  return range;
}

// Rows are sorted: those of a layer stand together.
std::string LayersText(absl::Span<const LatencyRow> rows) {
  Table table({{"layer"},
               {"rows", Align::kRight},
               {"in", Align::kRight},
               {"out", Align::kRight},
               {"least us", Align::kRight},
               {"most us", Align::kRight}});
  while (!rows.empty()) {
    size_t count = 1;
    while (count < rows.size() && rows[count].layer == rows.front().layer) ++count;
    const LayerRange range = RangeOf(rows.first(count));
    table.AddRow({rows.front().layer, absl::StrCat(range.rows), Range(range.low.in, range.high.in),
                  Range(range.low.out, range.high.out), Microseconds(range.low.median_us),
                  Microseconds(range.high.median_us)});
    rows.remove_prefix(count);
  }
  return table.ToString();
}

std::string RowsText(absl::Span<const LatencyRow> rows) {
  Table table({{"layer"},
               {"in", Align::kRight},
               {"out", Align::kRight},
               {"median us", Align::kRight},
               {"spread us", Align::kRight}});
  for (const LatencyRow& row : rows) {
    table.AddRow({row.layer, absl::StrCat(row.in), absl::StrCat(row.out),
                  Microseconds(row.median_us), Microseconds(row.spread_us)});
  }
  return table.ToString();
}

std::string FitsText(absl::Span<const LatencyFit> fits) {
  if (fits.empty()) return "no fits: predictions are the plain sum of the layers\n";
  Table table({{"fit of model"},
               {"x layers", Align::kRight},
               {"us per MB", Align::kRight},
               {"us per channel", Align::kRight},
               {"constant us", Align::kRight},
               {"networks", Align::kRight},
               {"median error", Align::kRight},
               {"p95 error", Align::kRight},
               {"repeatability", Align::kRight}});
  for (const LatencyFit& fit : fits) {
    const bool known = fit.networks > 0;
    table.AddRow({fit.model.empty() ? "any" : ShortDigest(fit.model),
                  absl::StrFormat("%.4f", fit.layers), Microseconds(fit.byte_us * 1e6),
                  Microseconds(fit.channel_us), Microseconds(fit.constant_us),
                  known ? absl::StrCat(fit.networks) : "unknown",
                  known ? Percent(fit.median_error) : "", known ? Percent(fit.p95_error) : "",
                  known ? Percent(fit.repeatability) : ""});
  }
  return table.ToString();
}

}  // namespace

std::string ShortDigest(const std::string& digest) { return digest.substr(0, kShownDigits); }

std::string LatencySummary(const v1::LatencyTableInfo& info) {
  return absl::StrCat(Plural(info.rows(), "row"), " of ", Plural(info.layers(), "layer"), ", ",
                      ToString(FromProto(info.setting())));
}

std::string LatencyListText(const v1::ListLatencyTablesResponse& list) {
  Table table({{"table"},
               {"runtime"},
               {"version"},
               {"device"},
               {"threads", Align::kRight},
               {"batch", Align::kRight},
               {"layers", Align::kRight},
               {"rows", Align::kRight},
               {"fits", Align::kRight},
               {"measured"},
               {"imported"}});
  for (const v1::LatencyTableInfo& info : list.tables()) {
    const v1::LatencySetting& setting = info.setting();
    table.AddRow({ShortDigest(info.digest()), Clip(setting.runtime(), kShownColumns),
                  Clip(setting.version(), kShownColumns), Clip(setting.device(), kShownColumns),
                  absl::StrCat(setting.threads()), absl::StrCat(setting.batch()),
                  absl::StrCat(info.layers()), absl::StrCat(info.rows()),
                  absl::StrCat(info.fits_size()), info.date(), LocalTime(info.import_time_ms())});
  }
  return table.ToString();
}

std::string LatencyTableText(const LatencyTable& table, bool rows) {
  LatencyTable sorted = table;
  SortLatencyTable(sorted);
  const v1::LatencyTableInfo info = DescribeLatencyTable(sorted);
  return absl::StrCat("table      ", info.digest(), "\nsetting    ", ToString(sorted.setting),
                      "\nmeasured   ", sorted.date.empty() ? "unknown" : sorted.date,
                      "\ntolerance  ", sorted.tolerance > 0 ? Percent(sorted.tolerance) : "unknown",
                      "\nrows       ", info.rows(), " of ", Plural(info.layers(), "layer"), "\n\n",
                      rows ? RowsText(sorted.rows) : LayersText(sorted.rows), "\n",
                      FitsText(sorted.fits));
}

std::string LatencyCheckText(const v1::LatencyCheck& check) {
  const auto ms = [](double us) { return absl::StrFormat("%.4g ms", us / 1000); };
  std::string text = absl::StrCat("Latency with ", ToString(FromProto(check.setting())), ": ",
                                  ms(check.predicted_us()), " predicted");
  if (check.unmeasured().empty()) {
    absl::StrAppendFormat(&text, ", %s measured (%+.1f%%)", ms(check.measured_us()),
                          100 * (check.measured_us() / check.predicted_us() - 1));
    if (check.limit_us() > 0) absl::StrAppend(&text, ", ", ms(check.limit_us()), " allowed");
    absl::StrAppend(&text, ".\n");
    if (check.limit_us() > 0) {
      const auto kept =
          std::count_if(check.finalists().begin(), check.finalists().end(),
                        [](const v1::Finalist& finalist) { return finalist.holds(); });
      absl::StrAppend(&text, "The best of ", kept, " that keep the budget, of ",
                      check.finalists_size(), " that were measured.\n");
    }
  } else {
    absl::StrAppend(&text, ".\nNOT MEASURED: ", check.unmeasured(), ".\n");
  }
  if (const v1::LatencyFit& fit = check.fit(); fit.networks() > 0) {
    absl::StrAppendFormat(
        &text,
        "The table was off by %s (median) and %s (95th percentile) on %d networks "
        "that it had not seen.\n",
        Percent(fit.median_error()), Percent(fit.p95_error()), fit.networks());
  } else if (check.setting().device() != kSimulatedDevice) {
    absl::StrAppend(&text, "How far the table's predictions are off is not known.\n");
  }
  return text;
}

}  // namespace amc
