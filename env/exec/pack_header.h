// The header of a data pack: its sizes, classes and preprocessing as text. In this order, one
// "key: value" a line:
//
//   channels, height, width           sizes of every image
//   reconstruction, reward, report    images of each split
//   mean, deviation                   one number per channel, separated by blanks
//   class                             one line per class, in label order
//   source                            how the pack was made, for people
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "env/exec/data_pack.h"

namespace amc {

struct PackHeader {
  int64_t channels = 0, height = 0, width = 0;
  int64_t split_sizes[3] = {0, 0, 0};
  Preprocessing preprocessing;
  std::vector<std::string> class_names;
  std::string source;

  int64_t images() const { return split_sizes[0] + split_sizes[1] + split_sizes[2]; }
  int64_t image_bytes() const { return channels * height * width; }
};

// InvalidArgument unless sizes are in range (small enough that no product of them overflows), the
// preprocessing fits the channels, and the class names pass.
absl::Status CheckPackHeader(const PackHeader& header);

// InvalidArgument if there are none, or about the first that is not one line of UTF-8.
absl::Status CheckClassNames(absl::Span<const std::string> names);

// Every label in [0, classes), or InvalidArgument about the first that is not.
absl::Status CheckLabels(absl::Span<const int32_t> labels, size_t classes);

std::string FormatPackHeader(const PackHeader& header);
// The header that FormatPackHeader wrote, checked.
absl::StatusOr<PackHeader> ParsePackHeader(absl::string_view text);

}  // namespace amc
