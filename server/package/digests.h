// What a package's files are known by: sizes and digests, and where a file differs from them.
#pragma once

#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "amc/v1/package.pb.h"

namespace amc {

inline constexpr size_t kPackageBlock = 64 << 10;  // bytes

// Path, size and digests of a file with these bytes.
v1::PackageFile DigestFile(const std::string& path, absl::string_view bytes);

// OK if `bytes` are what `file` says; DataLoss names the file and the first block that differs
// ("model.onnx: bytes 65536 to 131071 are not what was written"), or where it was cut short.
absl::Status CheckDigest(const v1::PackageFile& file, absl::string_view bytes);

// OK for a path that stays within the package: names of printable characters between slashes, none
// of them "." or "..", at most 255 bytes. InvalidArgument otherwise.
absl::Status CheckPackagePath(absl::string_view path);

// SHA256SUMS, as `sha256sum --check` reads it: path to digest, sorted by path.
std::string WriteSums(const std::map<std::string, std::string>& sums);
// InvalidArgument names the line.
absl::StatusOr<std::map<std::string, std::string>> ReadSums(absl::string_view text);

}  // namespace amc
