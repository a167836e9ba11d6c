#include "server/cli/input_check.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <system_error>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "env/graph/onnx_import.h"
#include "server/cli/exit_status.h"
#include "server/cli/latency_file.h"

namespace amc {
namespace {

constexpr char kMagic[] = "AMCPACK1";
constexpr size_t kPrefix = 12;  // magic and the header's size
constexpr size_t kMaxHeader = size_t{1} << 24;
constexpr uint64_t kAlignment = 64;

absl::Status NoPack(const std::string& path, absl::string_view reason) {
  return WithHint(absl::InvalidArgumentError(absl::StrCat(path, ": ", reason)),
                  "`amc data pack` makes a data pack from images.");
}

void NoteSurplus(absl::string_view what, int64_t wanted, int64_t there, const std::string& pack) {
  if (wanted <= there) return;
  std::fputs(absl::StrCat("note: ", wanted, " ", what, " images asked for, ", pack, " has ", there,
                          "; all of them are used\n")
                 .c_str(),
             stderr);
}

}  // namespace

absl::StatusOr<PackSummary> ReadPackSummary(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) {
    AMC_RETURN_IF_ERROR(ReadFile(path).status());  // says what is wrong with it
  }
  const uint64_t size = std::filesystem::file_size(path, error);
  std::ifstream file(path, std::ios::binary);
  if (error || !file) return absl::PermissionDeniedError(absl::StrCat(path, ": cannot be read"));
  std::string prefix(kPrefix, '\0');
  if (!file.read(prefix.data(), kPrefix) || prefix.compare(0, 8, kMagic) != 0) {
    return NoPack(path, "not a data pack (no AMCPACK1 at its start)");
  }
  uint32_t header_size = 0;
  std::memcpy(&header_size, prefix.data() + 8, sizeof(header_size));
  std::string header(std::min<size_t>(header_size, kMaxHeader), '\0');
  if (header_size > kMaxHeader || !file.read(header.data(), header_size)) {
    return NoPack(path, absl::StrCat("a header of ", header_size, " bytes in a file of ", size));
  }
  std::map<std::string, int64_t> sizes;
  for (const absl::string_view line : absl::StrSplit(header, '\n')) {
    const std::pair<std::string, std::string> entry =
        absl::StrSplit(line, absl::MaxSplits(": ", 1));
    int64_t value = 0;
    if (absl::SimpleAtoi(entry.second, &value)) sizes.emplace(entry.first, value);
  }
  const PackSummary summary = {sizes["reconstruction"], sizes["reward"], sizes["report"]};
  // Unsigned, so that damaged numbers wrap around instead of overflowing.
  const auto images = static_cast<uint64_t>(summary.reconstruction_images) +
                      static_cast<uint64_t>(summary.reward_images) +
                      static_cast<uint64_t>(summary.report_images);
  const uint64_t image_bytes = static_cast<uint64_t>(sizes["channels"]) *
                               static_cast<uint64_t>(sizes["height"]) *
                               static_cast<uint64_t>(sizes["width"]);
  const uint64_t start = (kPrefix + header_size + kAlignment - 1) / kAlignment * kAlignment;
  const uint64_t expected = start + images * (image_bytes + sizeof(int32_t));
  if (size != expected) {
    return NoPack(path, absl::StrCat("the file has ", size, " bytes, its header asks for ",
                                     expected, ": it is damaged or was not copied whole"));
  }
  return summary;
}

absl::Status CheckInputs(const v1::JobSpec& spec) {
  if (!IsSha256Hex(spec.model())) AMC_RETURN_IF_ERROR(LoadOnnx(spec.model()).status());
  if (NamesLatencyFile(spec)) {
    AMC_RETURN_IF_ERROR(ReadLatencyFile(spec.latency().table()).status());
  }
  if (IsSha256Hex(spec.data())) return absl::OkStatus();
  AMC_ASSIGN_OR_RETURN(const PackSummary pack, ReadPackSummary(spec.data()));
  const v1::EvaluationSpec& evaluation = spec.evaluation();
  NoteSurplus("reconstruction", evaluation.reconstruction_images(), pack.reconstruction_images,
              spec.data());
  NoteSurplus("reward", evaluation.reward_images(), pack.reward_images, spec.data());
  NoteSurplus("report", evaluation.report_images(), pack.report_images, spec.data());
  return absl::OkStatus();
}

}  // namespace amc
