// Latency tables as CSV: docs/formats.md has the format.
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <system_error>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/ascii.h"
#include "absl/strings/charconv.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "base/utf8.h"
#include "env/cost/latency_checks.h"
#include "env/cost/latency_table.h"

namespace amc {
namespace {

constexpr absl::string_view kMagic = "# amc latency table ";
constexpr int64_t kVersion = 1;
constexpr absl::string_view kHeader = "layer,in,out,median_us,spread_us";
constexpr absl::string_view kShortHeader = "layer,in,out,median_us";
constexpr absl::string_view kRows = "# rows: ";
constexpr absl::string_view kAnyModel = "any";
constexpr size_t kMaxLine = size_t{64} << 10;
constexpr std::array<absl::string_view, 7> kSettings = {"device", "runtime", "version",  "threads",
                                                        "batch",  "date",    "tolerance"};

// ---- Writing

// The fewest digits that read back as `value`; no exponent where people write none.
std::string Number(double value) {
  const double size = std::abs(value);
  const bool is_plain = size == 0 || (size >= 1e-4 && size < 1e15);
  std::array<char, 64> buffer;
  const std::to_chars_result end =
      std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                    is_plain ? std::chars_format::fixed : std::chars_format::scientific);
  return {buffer.data(), end.ptr};
}

void AppendSetting(absl::string_view key, absl::string_view value, std::string& csv) {
  absl::StrAppend(&csv, "# ", key, value.empty() ? ":" : ": ", value, "\n");
}

// ---- Reading

// Text from a file, fit to stand in a message.
std::string Quoted(absl::string_view text) {
  constexpr size_t kMost = 60;
  const absl::string_view start = text.substr(0, kMost);
  return absl::StrCat("\"", absl::Utf8SafeCHexEscape(ToUtf8(start)),
                      text.size() > kMost ? "...\"" : "\"");
}

absl::StatusOr<int64_t> Integer(absl::string_view field, absl::string_view text) {
  int64_t value = 0;
  const std::from_chars_result end = std::from_chars(text.data(), text.data() + text.size(), value);
  if (end.ec != std::errc() || end.ptr != text.data() + text.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat(field, " is ", Quoted(text), ", want an integer"));
  }
  return value;
}

absl::StatusOr<double> Real(absl::string_view field, absl::string_view text) {
  double value = 0;
  const absl::from_chars_result end =
      absl::from_chars(text.data(), text.data() + text.size(), value);
  if (end.ec != std::errc() || end.ptr != text.data() + text.size() || !std::isfinite(value)) {
    return absl::InvalidArgumentError(
        absl::StrCat(field, " is ", Quoted(text), ", want a finite number"));
  }
  return value;
}

// Splits off the next line, without its line end. Text must not be empty.
absl::string_view NextLine(absl::string_view& text) {
  const size_t end = text.find('\n');
  const absl::string_view line = text.substr(0, end);
  text.remove_prefix(end == absl::string_view::npos ? text.size() : end + 1);
  return absl::StripSuffix(line, "\r");
}

class Reader {
 public:
  absl::StatusOr<LatencyTable> Read(absl::string_view text) &&;

 private:
  enum class Place { kStart, kMetadata, kRows, kEnd };

  absl::Status Line(absl::string_view line);
  absl::Status Magic(absl::string_view line);
  absl::Status Metadata(absl::string_view line);
  absl::Status Setting(absl::string_view key, absl::string_view value);
  absl::Status Fit(absl::string_view text);
  absl::Status Header(absl::string_view line);
  absl::Status Row(absl::string_view line);
  absl::Status Trailer(absl::string_view line);
  // Notes that `what` is in this line; InvalidArgument if it has been before.
  absl::Status Once(const std::string& what);

  Place place_ = Place::kStart;
  bool has_spread_ = true;
  size_t line_ = 0, first_row_line_ = 0;
  absl::flat_hash_map<std::string, size_t> line_of_;  // of what may stand once
  LatencyTable table_;
};

absl::StatusOr<LatencyTable> Reader::Read(absl::string_view text) && {
  while (!text.empty()) {
    ++line_;
    AMC_RETURN_IF_ERROR(Annotate(Line(NextLine(text)), absl::StrCat("line ", line_)));
  }
  if (place_ != Place::kEnd) {
    const absl::string_view missing = place_ == Place::kStart      ? kMagic
                                      : place_ == Place::kMetadata ? kHeader
                                                                   : kRows;
    return absl::InvalidArgumentError(
        absl::StrCat("line ", line_ + 1, ": the file ends before its \"",
                     absl::StripTrailingAsciiWhitespace(missing), "\" line: truncated?"));
  }
  AMC_RETURN_IF_ERROR(CheckLatencyGrids(table_.rows, "line", first_row_line_));
  SortLatencyTable(table_);
  return std::move(table_);
}

absl::Status Reader::Line(absl::string_view line) {
  if (line.size() > kMaxLine) {
    return absl::InvalidArgumentError(
        absl::StrCat("has ", line.size(), " bytes, want at most ", kMaxLine));
  }
  if (!IsUtf8(line)) return absl::InvalidArgumentError("is not UTF-8");
  for (const char c : line) {
    if (absl::ascii_iscntrl(c)) {
      return absl::InvalidArgumentError(
          absl::StrCat("holds the control character 0x", absl::Hex(c, absl::kZeroPad2)));
    }
  }
  switch (place_) {
    case Place::kStart:
      return Magic(line);
    case Place::kMetadata:
      return absl::StartsWith(line, "#") ? Metadata(line) : Header(line);
    case Place::kRows:
      return absl::StartsWith(line, "#") ? Trailer(line) : Row(line);
    case Place::kEnd:
      break;
  }
  return absl::InvalidArgumentError(absl::StrCat("text after the \"# rows\" line: ", Quoted(line)));
}

absl::Status Reader::Magic(absl::string_view line) {
  absl::StatusOr<int64_t> version = absl::InvalidArgumentError("");
  if (absl::StartsWith(line, kMagic)) version = Integer("version", line.substr(kMagic.size()));
  if (!version.ok() || *version < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("is ", Quoted(line), ", want \"", kMagic, kVersion, "\": no latency table"));
  }
  if (*version > kVersion) {
    return absl::InvalidArgumentError(
        absl::StrCat("a latency table of version ", *version, ", this program reads ", kVersion));
  }
  place_ = Place::kMetadata;
  return absl::OkStatus();
}

absl::Status Reader::Once(const std::string& what) {
  const auto [found, is_new] = line_of_.emplace(what, line_);
  if (is_new) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(what, " is in line ", found->second, " already"));
}

absl::Status Reader::Metadata(absl::string_view line) {
  const size_t colon = line.find(':');
  if (!absl::ConsumePrefix(&line, "# ") || colon == absl::string_view::npos) {
    return absl::InvalidArgumentError(absl::StrCat("is ", Quoted(line), ", want \"# key: value\""));
  }
  const absl::string_view key = line.substr(0, colon - 2);
  absl::string_view value = line.substr(colon - 1);
  if (!value.empty() && !absl::ConsumePrefix(&value, " ")) {
    return absl::InvalidArgumentError(absl::StrCat("no blank after \"", key, ":\""));
  }
  if (key == "fit") return Fit(value);
  if (std::find(kSettings.begin(), kSettings.end(), key) == kSettings.end()) {
    return absl::InvalidArgumentError(absl::StrCat("unknown metadata ", Quoted(key)));
  }
  AMC_RETURN_IF_ERROR(Once(std::string(key)));
  return Setting(key, value);
}

absl::Status Reader::Setting(absl::string_view key, absl::string_view value) {
  if (key == "threads" || key == "batch") {
    AMC_ASSIGN_OR_RETURN(const int64_t count, Integer(key, value));
    (key == "threads" ? table_.setting.threads : table_.setting.batch) = count;
    return CheckAtLeastOne(key, count);
  }
  if (key == "tolerance") {
    AMC_ASSIGN_OR_RETURN(table_.tolerance, Real(key, value));
    return CheckNotNegative(key, table_.tolerance);
  }
  if (key == "date") {
    table_.date = std::string(value);
    return CheckLatencyDate(value);
  }
  if (value.empty() && key != "version") {
    return absl::InvalidArgumentError(absl::StrCat(key, " is empty"));
  }
  (key == "device"    ? table_.setting.device
   : key == "runtime" ? table_.setting.runtime
                      : table_.setting.version) = std::string(value);
  return CheckLatencyText(key, value);
}

absl::Status Reader::Fit(absl::string_view text) {
  LatencyFit fit;
  absl::flat_hash_map<absl::string_view, absl::string_view> fields;
  for (const absl::string_view field : absl::StrSplit(text, ' ')) {
    const size_t equals = field.find('=');
    if (equals == absl::string_view::npos) {
      return absl::InvalidArgumentError(absl::StrCat("fit: ", Quoted(field), ", want key=value"));
    }
    const absl::string_view key = field.substr(0, equals);
    if (!fields.emplace(key, field.substr(equals + 1)).second) {
      return absl::InvalidArgumentError(absl::StrCat("fit: ", Quoted(key), " twice"));
    }
  }
  absl::Status status;
  const auto take = [&](absl::string_view key) -> absl::string_view {
    const auto found = fields.find(key);
    if (found == fields.end()) {
      if (status.ok()) status = absl::InvalidArgumentError(absl::StrCat("fit: no ", key));
      return "0";
    }
    const absl::string_view value = found->second;
    fields.erase(found);
    return value;
  };
  const auto real = [&](absl::string_view key) {
    const absl::StatusOr<double> value = Real(key, take(key));
    if (status.ok()) status = Annotate(value.status(), "fit");
    return value.value_or(0);
  };
  const absl::string_view model = take("model");
  fit.model = model == kAnyModel ? "" : std::string(model);
  fit.layers = real("layers");
  fit.byte_us = real("byte_us");
  if (fields.contains("channel_us")) fit.channel_us = real("channel_us");
  fit.constant_us = real("constant_us");
  const absl::StatusOr<int64_t> networks = Integer("networks", take("networks"));
  if (status.ok()) status = Annotate(networks.status(), "fit");
  fit.networks = networks.value_or(0);
  fit.median_error = real("median_error");
  fit.p95_error = real("p95_error");
  fit.repeatability = real("repeatability");
  AMC_RETURN_IF_ERROR(status);
  if (!fields.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("fit: unknown ", Quoted(fields.begin()->first)));
  }
  if (model.empty()) return absl::InvalidArgumentError("fit: model is empty");
  AMC_RETURN_IF_ERROR(Annotate(CheckLatencyFit(fit), "fit"));
  AMC_RETURN_IF_ERROR(Once(absl::StrCat("fit of model ", model)));
  table_.fits.push_back(std::move(fit));
  return absl::OkStatus();
}

absl::Status Reader::Header(absl::string_view line) {
  if (line != kHeader && line != kShortHeader) {
    return absl::InvalidArgumentError(
        absl::StrCat("is ", Quoted(line), ", want \"", kHeader, "\" or metadata"));
  }
  for (const absl::string_view key : kSettings) {
    if (!line_of_.contains(key)) {
      return absl::InvalidArgumentError(absl::StrCat("no \"# ", key, ":\" line above"));
    }
  }
  has_spread_ = line == kHeader;
  first_row_line_ = line_ + 1;
  place_ = Place::kRows;
  return absl::OkStatus();
}

absl::Status Reader::Row(absl::string_view line) {
  if (table_.rows.size() == kMaxLatencyRows) {
    return absl::InvalidArgumentError(absl::StrCat("more than ", kMaxLatencyRows, " rows"));
  }
  std::array<absl::string_view, 5> fields;
  size_t count = 0;
  for (const absl::string_view field : absl::StrSplit(line, ',')) {
    if (count < fields.size()) fields[count] = field;
    ++count;
  }
  const size_t want = has_spread_ ? 5 : 4;
  if (count != want) {
    return absl::InvalidArgumentError(
        absl::StrCat("has ", count, " fields, want ", want, ": ", Quoted(line)));
  }
  LatencyRow row;
  row.layer = std::string(fields[0]);
  AMC_ASSIGN_OR_RETURN(row.in, Integer("in", fields[1]));
  AMC_ASSIGN_OR_RETURN(row.out, Integer("out", fields[2]));
  AMC_ASSIGN_OR_RETURN(row.median_us, Real("median_us", fields[3]));
  if (!fields[4].empty()) {
    AMC_ASSIGN_OR_RETURN(row.spread_us, Real("spread_us", fields[4]));
  }
  AMC_RETURN_IF_ERROR(CheckLatencyRow(row));
  table_.rows.push_back(std::move(row));
  return absl::OkStatus();
}

absl::Status Reader::Trailer(absl::string_view line) {
  if (!absl::StartsWith(line, kRows)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "is ", Quoted(line), " after the header line, want a row or \"", kRows, "N\""));
  }
  AMC_ASSIGN_OR_RETURN(const int64_t rows, Integer("rows", line.substr(kRows.size())));
  if (rows != static_cast<int64_t>(table_.rows.size())) {
    return absl::InvalidArgumentError(absl::StrCat("says ", rows, " rows, there are ",
                                                   table_.rows.size(), ": truncated or changed"));
  }
  place_ = Place::kEnd;
  return absl::OkStatus();
}

}  // namespace

std::string WriteLatencyCsv(const LatencyTable& table) {
  LatencyTable sorted = table;
  SortLatencyTable(sorted);
  std::string csv = absl::StrCat(kMagic, kVersion, "\n");
  AppendSetting("device", sorted.setting.device, csv);
  AppendSetting("runtime", sorted.setting.runtime, csv);
  AppendSetting("version", sorted.setting.version, csv);
  AppendSetting("threads", absl::StrCat(sorted.setting.threads), csv);
  AppendSetting("batch", absl::StrCat(sorted.setting.batch), csv);
  AppendSetting("date", sorted.date, csv);
  AppendSetting("tolerance", Number(sorted.tolerance), csv);
  for (const LatencyFit& fit : sorted.fits) {
    absl::StrAppend(&csv, "# fit: model=", fit.model.empty() ? kAnyModel : fit.model,
                    " layers=", Number(fit.layers), " byte_us=", Number(fit.byte_us));
    // Left out where it is 0, so that tables without it keep their digests.
    if (fit.channel_us != 0) absl::StrAppend(&csv, " channel_us=", Number(fit.channel_us));
    absl::StrAppend(&csv, " constant_us=", Number(fit.constant_us), " networks=", fit.networks);
    absl::StrAppend(&csv, " median_error=", Number(fit.median_error),
                    " p95_error=", Number(fit.p95_error),
                    " repeatability=", Number(fit.repeatability), "\n");
  }
  absl::StrAppend(&csv, kHeader, "\n");
  for (const LatencyRow& row : sorted.rows) {
    absl::StrAppend(&csv, row.layer, ",", row.in, ",", row.out, ",", Number(row.median_us));
    absl::StrAppend(&csv, ",", Number(row.spread_us), "\n");
  }
  absl::StrAppend(&csv, kRows, sorted.rows.size(), "\n");
  return csv;
}

absl::StatusOr<LatencyTable> ReadLatencyCsv(absl::string_view text) { return Reader().Read(text); }

std::string LatencyDigest(const LatencyTable& table) { return Sha256Hex(WriteLatencyCsv(table)); }

}  // namespace amc
