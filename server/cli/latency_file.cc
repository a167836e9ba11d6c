#include "server/cli/latency_file.h"

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <system_error>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "base/utf8.h"
#include "google/protobuf/util/json_util.h"
#include "server/cli/exit_status.h"
#include "server/cli/json.h"
#include "server/rpc/latency_convert.h"

namespace amc {
namespace {

// The parser's errors quote the text, so what a terminal would not show must not be in it.
absl::Status CheckVisible(absl::string_view text) {
  size_t end = Utf8Prefix(text);
  const auto* const hidden = std::find_if(text.begin(), text.begin() + end, [](char c) {
    return absl::ascii_iscntrl(c) && !absl::ascii_isspace(c);
  });
  end = static_cast<size_t>(hidden - text.begin());
  if (end == text.size()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("neither CSV nor JSON: byte ", end, " is 0x",
                                                 absl::Hex(text[end], absl::kZeroPad2)));
}

absl::StatusOr<LatencyTable> ReadJson(const std::string& text) {
  AMC_RETURN_IF_ERROR(CheckVisible(text));
  v1::LatencyTable message;
  const auto status = google::protobuf::util::JsonStringToMessage(text, &message);
  if (!status.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("not the JSON of a LatencyTable: ", std::string(status.message())));
  }
  LatencyTable table = FromProto(message);
  AMC_RETURN_IF_ERROR(CheckLatencyTable(table));
  SortLatencyTable(table);
  return table;
}

}  // namespace

absl::StatusOr<LatencyTable> ReadLatencyFile(const std::string& path) {
  AMC_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
  const bool is_json = absl::StartsWith(absl::StripLeadingAsciiWhitespace(bytes), "{");
  absl::StatusOr<LatencyTable> table = is_json ? ReadJson(bytes) : ReadLatencyCsv(bytes);
  if (table.ok()) return table;
  return WithHint(
      Annotate(table.status(), path),
      "docs/formats.md says what stands in a latency table; `amc lut export` writes one.");
}

bool NamesLatencyFile(const v1::JobSpec& spec) {
  const std::string& table = spec.latency().table();
  constexpr size_t kLeastDigits = 6, kAllDigits = 64;
  const bool digits = table.size() >= kLeastDigits && table.size() <= kAllDigits &&
                      std::all_of(table.begin(), table.end(), absl::ascii_isxdigit);
  std::error_code error;
  return !table.empty() && (!digits || std::filesystem::exists(table, error));
}

std::string LatencyJson(const LatencyTable& table) { return ToJson(ToProto(table)); }

}  // namespace amc
