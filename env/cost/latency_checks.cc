#include "env/cost/latency_checks.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "base/utf8.h"

namespace amc {
namespace {

template <typename T>
absl::Status Bad(absl::string_view field, const T& value, absl::string_view want) {
  return absl::InvalidArgumentError(absl::StrCat(field, " is ", value, ", want ", want));
}

auto KeyOf(const LatencyRow& row) { return std::tie(row.layer, row.in, row.out); }

// The first point of the full grid that the rows of one kind, sorted and each once, leave out;
// there is one if they are fewer than `ins` times `outs`.
std::pair<int64_t, int64_t> MissingPoint(absl::Span<const LatencyRow* const> rows,
                                         absl::Span<const int64_t> ins,
                                         absl::Span<const int64_t> outs) {
  size_t next = 0;
  for (const int64_t in : ins) {
    for (const int64_t out : outs) {
      if (next == rows.size() || rows[next]->in != in || rows[next]->out != out) return {in, out};
      ++next;
    }
  }
  return {0, 0};
}

std::vector<int64_t> Distinct(absl::Span<const LatencyRow* const> rows,
                              int64_t LatencyRow::*field) {
  std::vector<int64_t> values;
  values.reserve(rows.size());
  for (const LatencyRow* row : rows) values.push_back(row->*field);
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
  return values;
}

}  // namespace

absl::Status CheckLatencyText(absl::string_view field, absl::string_view text) {
  if (text.size() > kMaxLatencyText) {
    return absl::InvalidArgumentError(
        absl::StrCat(field, " has ", text.size(), " bytes, want at most ", kMaxLatencyText));
  }
  const auto quoted = [&text] {
    return absl::StrCat("\"", absl::Utf8SafeCHexEscape(ToUtf8(text)), "\"");
  };
  if (!IsUtf8(text)) return Bad(field, quoted(), "UTF-8");
  if (std::any_of(text.begin(), text.end(), [](char c) { return absl::ascii_iscntrl(c); })) {
    return Bad(field, quoted(), "no control characters");
  }
  if (absl::StripAsciiWhitespace(text) != text) {
    return Bad(field, quoted(), "no blanks at its ends");
  }
  return absl::OkStatus();
}

absl::Status CheckLatencyDate(absl::string_view date) {
  AMC_RETURN_IF_ERROR(CheckLatencyText("date", date));
  absl::Time time;
  std::string error;
  if (date.empty() || (absl::ascii_isdigit(date[0]) &&  // no "infinite-past"
                       (absl::ParseTime("%Y-%m-%d", date, &time, &error) ||
                        absl::ParseTime(absl::RFC3339_full, date, &time, &error)))) {
    return absl::OkStatus();
  }
  return Bad("date", absl::StrCat("\"", date, "\""),
             "2026-11-20 or 2026-11-20T22:15:01Z (ISO 8601)");
}

absl::Status CheckAtLeastOne(absl::string_view field, int64_t value) {
  return value >= 1 ? absl::OkStatus() : Bad(field, value, "at least 1");
}

absl::Status CheckFinite(absl::string_view field, double value) {
  return std::isfinite(value) ? absl::OkStatus() : Bad(field, value, "a finite number");
}

absl::Status CheckNotNegative(absl::string_view field, double value) {
  AMC_RETURN_IF_ERROR(CheckFinite(field, value));
  return value >= 0 ? absl::OkStatus() : Bad(field, value, "at least 0");
}

absl::Status CheckLatencyFit(const LatencyFit& fit) {
  if (!fit.model.empty() && !IsSha256Hex(fit.model)) {
    AMC_RETURN_IF_ERROR(CheckLatencyText("model", fit.model));
    return Bad("model", absl::StrCat("\"", fit.model, "\""), "a sha256 in hexadecimal digits");
  }
  AMC_RETURN_IF_ERROR(CheckFinite("layers", fit.layers));
  AMC_RETURN_IF_ERROR(CheckFinite("byte_us", fit.byte_us));
  AMC_RETURN_IF_ERROR(CheckFinite("channel_us", fit.channel_us));
  AMC_RETURN_IF_ERROR(CheckFinite("constant_us", fit.constant_us));
  if (fit.networks < 0) return Bad("networks", fit.networks, "at least 0");
  AMC_RETURN_IF_ERROR(CheckNotNegative("median_error", fit.median_error));
  AMC_RETURN_IF_ERROR(CheckNotNegative("p95_error", fit.p95_error));
  return CheckNotNegative("repeatability", fit.repeatability);
}

absl::Status CheckLatencyRow(const LatencyRow& row) {
  AMC_RETURN_IF_ERROR(CheckLatencyText("layer", row.layer));
  if (row.layer.empty() || row.layer.find_first_of(",\"") != std::string::npos ||
      row.layer[0] == '#') {
    return Bad("layer", absl::StrCat("\"", row.layer, "\""),
               "a kind without commas or quotes, not beginning with #");
  }
  AMC_RETURN_IF_ERROR(CheckAtLeastOne("in", row.in));
  AMC_RETURN_IF_ERROR(CheckAtLeastOne("out", row.out));
  if (IsDepthwiseKind(row.layer) && row.in != row.out) {
    return Bad("out", row.out, absl::StrCat(row.in, " as in: it is depthwise"));
  }
  AMC_RETURN_IF_ERROR(CheckFinite("median_us", row.median_us));
  if (row.median_us <= 0) return Bad("median_us", row.median_us, "above 0");
  return CheckNotNegative("spread_us", row.spread_us);
}

absl::Status CheckLatencyGrids(absl::Span<const LatencyRow> rows, absl::string_view unit,
                               size_t first) {
  std::vector<const LatencyRow*> sorted;
  sorted.reserve(rows.size());
  for (const LatencyRow& row : rows) sorted.push_back(&row);
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const LatencyRow* a, const LatencyRow* b) { return KeyOf(*a) < KeyOf(*b); });
  const auto name = [&](const LatencyRow* row) {
    return absl::StrCat(unit, " ", first + static_cast<size_t>(row - rows.data()));
  };
  for (size_t i = 1; i < sorted.size(); ++i) {
    const LatencyRow& row = *sorted[i];
    if (KeyOf(*sorted[i - 1]) == KeyOf(row)) {
      return absl::InvalidArgumentError(absl::StrCat(name(&row), ": ", row.layer, ": in ", row.in,
                                                     ", out ", row.out, " is in ",
                                                     name(sorted[i - 1]), " already"));
    }
  }
  for (size_t begin = 0, end = 0; begin < sorted.size(); begin = end) {
    const std::string& kind = sorted[begin]->layer;
    while (end < sorted.size() && sorted[end]->layer == kind) ++end;
    if (IsDepthwiseKind(kind)) continue;  // one dimension, always full
    const auto of_kind = absl::MakeConstSpan(sorted).subspan(begin, end - begin);
    const std::vector<int64_t> ins = Distinct(of_kind, &LatencyRow::in);
    const std::vector<int64_t> outs = Distinct(of_kind, &LatencyRow::out);
    if (ins.size() * outs.size() == of_kind.size()) continue;
    const auto [in, out] = MissingPoint(of_kind, ins, outs);
    const LatencyRow* earliest = *std::min_element(of_kind.begin(), of_kind.end());
    return absl::InvalidArgumentError(absl::StrCat(
        name(earliest), ": ", kind, ": in ", in, ", out ", out, " is missing from its grid of ",
        ins.size(), " x ", outs.size(), " points, of which there are ", of_kind.size()));
  }
  return absl::OkStatus();
}

}  // namespace amc
