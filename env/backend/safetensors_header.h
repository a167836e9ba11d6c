// The header of a safetensors file: a JSON object that says where each tensor's bytes are.
//
//   {"__metadata__":{"key":"text",...},
//    "name":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},...}
//
// Offsets count from the end of the header. This reads exactly such objects, and of JSON no more
// than they need: strings, integers from 0 to 2^63 - 1, arrays of these.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace amc {

// Those that we use, in the reference implementation's order, by which files are sorted.
enum class SafetensorsType { kU8, kI8, kI16, kF16, kBf16, kI32, kF32, kI64 };

absl::string_view SafetensorsTypeName(SafetensorsType type);  // "F32"
int64_t SafetensorsTypeSize(SafetensorsType type);            // bytes of an element

struct SafetensorsEntry {
  std::string name = {};
  SafetensorsType type = SafetensorsType::kF32;
  std::vector<int64_t> shape = {};  // none negative
  int64_t begin = 0, end = 0;       // bytes
  friend bool operator==(const SafetensorsEntry&, const SafetensorsEntry&) = default;
};

struct SafetensorsHeader {
  std::map<std::string, std::string> metadata = {};
  std::vector<SafetensorsEntry> entries = {};  // in the header's order
  friend bool operator==(const SafetensorsHeader&, const SafetensorsHeader&) = default;
};

// `text` stands at byte `offset` of a file, from which messages count. InvalidArgument: what is
// wrong and at which byte; text that is not UTF-8, not this JSON, has a key twice, lacks one, has
// an unknown one, or a type that is not above. Whether offsets make sense is the caller's.
absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(absl::string_view text, size_t offset);

// Without spaces, metadata first. Strings have to be UTF-8.
std::string SerializeSafetensorsHeader(const SafetensorsHeader& header);

}  // namespace amc
