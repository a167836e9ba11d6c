// IDX files (the format of MNIST and its successors), plain or compressed with gzip.
//
// An IDX file is big endian: two zero bytes, the element type (8 is uint8), the number of
// dimensions, one u32 per dimension, then the elements in row-major order. Images have three
// dimensions (N x height x width, one channel), labels one.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "env/exec/data_pack.h"

namespace amc {

// Reads images and their labels. The format has no class names: they are "0", "1", ... up to the
// highest label. InvalidArgument names the file, the offset (in the uncompressed bytes), what is
// there and what was expected; also when the two files' counts differ.
absl::StatusOr<ImageSet> LoadIdx(const std::string& images_path, const std::string& labels_path);

}  // namespace amc
