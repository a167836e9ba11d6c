// safetensors files (github.com/huggingface/safetensors): named tensors and a little text.
//
//   u64 length of the header, little endian, at most 100,000,000
//   the header (safetensors_header.h), padded with spaces to a multiple of 8 bytes
//   the tensors' bytes, row-major, little endian, each where the one before it ends
//
// Written as the reference implementation writes: tensors sorted by type, the widest first, so that
// each is aligned, and then by name. Read as it reads: in any order, but without holes or overlaps
// and nothing after them.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "env/backend/safetensors_header.h"

namespace amc {

static_assert(std::endian::native == std::endian::little, "elements are copied as they are");

// A view of bytes that belong to others: of the file, or of what is to be written.
struct SafetensorsTensor {
  SafetensorsType type = SafetensorsType::kF32;
  std::vector<int64_t> shape = {};
  absl::string_view bytes = {};
  friend bool operator==(const SafetensorsTensor&, const SafetensorsTensor&) = default;
};

struct Safetensors {
  std::map<std::string, std::string> metadata = {};
  std::map<std::string, SafetensorsTensor> tensors = {};
  friend bool operator==(const Safetensors&, const Safetensors&) = default;
};

// InvalidArgument, naming the tensor, if its bytes do not fit its shape, or if a string is not
// UTF-8 or a tensor is called __metadata__.
absl::StatusOr<std::string> SerializeSafetensors(const Safetensors& content);

// Views of `file`. InvalidArgument: what is wrong with which tensor or at which byte.
absl::StatusOr<Safetensors> ParseSafetensors(absl::string_view file);

// As a shape's size: any.
inline constexpr int64_t kAnySize = -1;

// The tensor of that name; InvalidArgument if there is none or it has another type or shape.
absl::StatusOr<SafetensorsTensor> FindTensor(const Safetensors& content, const std::string& name,
                                             SafetensorsType type,
                                             const std::vector<int64_t>& shape);

// The metadata's text; InvalidArgument if there is none.
absl::StatusOr<std::string> FindText(const Safetensors& content, const std::string& key);
// The metadata's text as a number; InvalidArgument unless it is one from `least` to `most`.
absl::StatusOr<int64_t> FindInteger(const Safetensors& content, const std::string& key,
                                    int64_t least, int64_t most);

// Elements are as wide as the tensor's type.
template <typename T>
std::vector<T> CopyElements(const SafetensorsTensor& tensor) {
  std::vector<T> elements(tensor.bytes.size() / sizeof(T));
  if (!elements.empty()) std::memcpy(elements.data(), tensor.bytes.data(), tensor.bytes.size());
  return elements;
}

template <typename T>
SafetensorsTensor ViewElements(SafetensorsType type, std::vector<int64_t> shape,
                               const std::vector<T>& elements) {
  return {type, std::move(shape),
          absl::string_view(reinterpret_cast<const char*>(elements.data()),
                            elements.size() * sizeof(T))};
}

}  // namespace amc
