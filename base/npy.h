// NumPy's .npy files of float32, versions 1 to 3 (numpy.lib.format):
//
//   "\x93NUMPY", u8 major, u8 minor, header length (u16, from version 2 on u32, little endian),
//   header: the text of a Python dictionary, e.g.
//     {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3, 32, 32), }
//   then the elements in row-major order, little endian.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace amc {

struct NpyArray {
  std::vector<int64_t> shape;
  std::vector<float> values;
};

// InvalidArgument says what stands in the file and what is read: other element types, Fortran
// order, a header that is cut short or is no such dictionary, more or fewer bytes than the shape
// needs.
absl::StatusOr<NpyArray> ParseNpy(absl::string_view bytes);

// Version 1.0; the elements begin at a multiple of 64 bytes, as NumPy writes them.
std::string SerializeNpy(const NpyArray& array);

}  // namespace amc
