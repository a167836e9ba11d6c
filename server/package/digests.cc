#include "server/package/digests.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/sha256.h"
#include "base/status_macros.h"

namespace amc {
namespace {

constexpr size_t kDigits = 64;      // of a sha256
constexpr size_t kBlockDigits = 8;  // of a block's
constexpr size_t kMaxPath = 255;

absl::Status Differs(absl::string_view path, size_t first, size_t end) {
  return absl::DataLossError(
      absl::StrCat(path, ": bytes ", first, " to ", end - 1, " are not what was written"));
}

}  // namespace

v1::PackageFile DigestFile(const std::string& path, absl::string_view bytes) {
  v1::PackageFile file;
  file.set_path(path);
  file.set_bytes(static_cast<uint32_t>(bytes.size()));
  file.set_sha256(Sha256Hex(bytes));
  for (size_t first = 0; first < bytes.size(); first += kPackageBlock) {
    file.add_blocks(Sha256Hex(bytes.substr(first, kPackageBlock)).substr(0, kBlockDigits));
  }
  return file;
}

absl::Status CheckDigest(const v1::PackageFile& file, absl::string_view bytes) {
  if (bytes.size() == file.bytes() && Sha256Hex(bytes) == file.sha256()) return absl::OkStatus();
  const v1::PackageFile found = DigestFile(file.path(), bytes);
  const v1::PackageFile common = DigestFile(file.path(), bytes.substr(0, file.bytes()));
  for (int i = 0; i < std::min(file.blocks_size(), common.blocks_size()); ++i) {
    const size_t first = static_cast<size_t>(i) * kPackageBlock;
    const size_t end = std::min<size_t>(first + kPackageBlock, common.bytes());
    const bool cut = common.bytes() < file.bytes() && end == common.bytes();
    if (file.blocks(i) != common.blocks(i) && !cut) return Differs(file.path(), first, end);
  }
  if (found.bytes() < file.bytes()) {
    return absl::DataLossError(
        absl::StrCat(file.path(), ": ends at byte ", found.bytes(), " of ", file.bytes()));
  }
  if (found.bytes() > file.bytes()) {
    return absl::DataLossError(absl::StrCat(file.path(), ": goes on after byte ", file.bytes(),
                                            ", for ", found.bytes() - file.bytes(), " more"));
  }
  return absl::DataLossError(
      absl::StrCat(file.path(), ": its sha256 is ", found.sha256(), ", want ", file.sha256()));
}

absl::Status CheckPackagePath(absl::string_view path) {
  const auto bad = [path](absl::string_view why) {
    return absl::InvalidArgumentError(
        absl::StrCat("path \"", absl::CHexEscape(path.substr(0, kMaxPath)), "\" ", why));
  };
  if (path.empty() || path.size() > kMaxPath) return bad("is empty or too long");
  if (!std::all_of(path.begin(), path.end(), absl::ascii_isgraph)) {
    return bad("has characters that cannot be printed, or blanks");
  }
  for (const absl::string_view name : absl::StrSplit(path, '/')) {
    if (name.empty() || name == "." || name == "..") return bad("does not stay in the package");
  }
  return absl::OkStatus();
}

std::string WriteSums(const std::map<std::string, std::string>& sums) {
  std::string text;
  for (const auto& [path, digest] : sums) absl::StrAppend(&text, digest, "  ", path, "\n");
  return text;
}

absl::StatusOr<std::map<std::string, std::string>> ReadSums(absl::string_view text) {
  std::map<std::string, std::string> sums;
  int64_t number = 0;
  const auto bad = [&number](absl::string_view why) {
    return absl::InvalidArgumentError(absl::StrCat("SHA256SUMS, line ", number, ": ", why));
  };
  while (!text.empty()) {
    ++number;
    const size_t end = text.find('\n');
    if (end == absl::string_view::npos) return bad("does not end: the file was cut short");
    const absl::string_view line = text.substr(0, end);
    text.remove_prefix(end + 1);
    if (line.size() <= kDigits + 2 || line.substr(kDigits, 2) != "  " ||
        !IsSha256Hex(std::string(line.substr(0, kDigits)))) {
      return bad("is not a sha256, two blanks and a path");
    }
    const std::string path(line.substr(kDigits + 2));
    const absl::Status good = CheckPackagePath(path);
    if (!good.ok()) return bad(std::string(good.message()));
    if (!sums.emplace(path, line.substr(0, kDigits)).second) {
      return bad(absl::StrCat("names ", path, " a second time"));
    }
  }
  return sums;
}

}  // namespace amc
