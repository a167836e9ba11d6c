#include "env/exec/cifar.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_macros.h"

namespace amc {
namespace {

constexpr size_t kImageBytes = 3 * 32 * 32;

absl::Status AppendFile(const std::string& path, size_t label_bytes, ImageSet& set) {
  AMC_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
  const size_t record = label_bytes + kImageBytes;
  const size_t whole = bytes.size() / record * record;
  if (bytes.empty() || whole != bytes.size()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": offset ", whole, ": a record of ",
                                                   bytes.size() - whole, " bytes, want ", record));
  }
  for (size_t offset = 0; offset < bytes.size(); offset += record) {
    const size_t label_offset = offset + label_bytes - 1;
    const auto label = static_cast<uint8_t>(bytes[label_offset]);
    if (label >= set.class_names.size()) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": offset ", label_offset, ": label ",
                                                     label, " of image ", offset / record,
                                                     " is outside 0..", set.class_names.size() - 1,
                                                     " (", set.class_names.size(), " classes)"));
    }
    set.labels.push_back(label);
    const auto* const pixels = reinterpret_cast<const uint8_t*>(bytes.data()) + label_offset + 1;
    set.pixels.insert(set.pixels.end(), pixels, pixels + kImageBytes);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ImageSet> LoadCifar(CifarKind kind, const std::vector<std::string>& paths,
                                   std::vector<std::string> class_names) {
  const size_t classes = kind == CifarKind::kCifar10 ? 10 : 100;
  if (class_names.empty()) {
    for (size_t c = 0; c < classes; ++c) class_names.push_back(absl::StrCat(c));
  }
  if (class_names.size() != classes) {
    return absl::InvalidArgumentError(
        absl::StrCat(class_names.size(), " class names for ", classes, " classes"));
  }
  ImageSet set;
  set.channels = 3;
  set.height = 32;
  set.width = 32;
  set.class_names = std::move(class_names);
  for (const std::string& path : paths) {
    AMC_RETURN_IF_ERROR(AppendFile(path, kind == CifarKind::kCifar10 ? 1 : 2, set));
  }
  return set;
}

}  // namespace amc
