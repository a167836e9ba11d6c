// Bytes of the simulated accelerators' files: four letters, a 16-bit version, little-endian fields
// and tables, nothing after them.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace amc {

// The largest matrix that such a file may hold (VGG-16's first linear layer has 2^26.6 values). A
// few bytes can claim any number of zeros, so there has to be a limit.
inline constexpr int64_t kMaxPackedValues = int64_t{1} << 28;

// InvalidArgument unless there are rows and columns, and no more values than kMaxPackedValues.
absl::Status CheckPackedSize(int64_t rows, int64_t columns);

// InvalidArgument unless `size` inputs are columns x vectors.
absl::Status CheckPackedInputs(uint64_t size, int64_t columns, int64_t vectors);

class PackedWriter {
 public:
  PackedWriter(absl::string_view magic, uint16_t version);
  void U8(uint8_t value) { Integer(value, 1); }
  void U16(uint16_t value) { Integer(value, 2); }
  void I16(int16_t value) { Integer(static_cast<uint16_t>(value), 2); }
  void U32(uint32_t value) { Integer(value, 4); }
  void Bytes(absl::string_view bytes) { bytes_.append(bytes.data(), bytes.size()); }

  std::string bytes() && { return std::move(bytes_); }

 private:
  void Integer(uint32_t value, int size);
  std::string bytes_;
};

// Never reads past the end: the first read that does not fit latches, every later one gives zero or
// nothing, and status() tells. Refers to the file, which must outlive it.
class PackedReader {
 public:
  // A wrong magic or version latches too.
  PackedReader(absl::string_view file, absl::string_view magic, uint16_t version);
  uint8_t U8() { return static_cast<uint8_t>(Integer(1)); }
  uint16_t U16() { return static_cast<uint16_t>(Integer(2)); }
  int16_t I16() { return static_cast<int16_t>(U16()); }
  uint32_t U32() { return Integer(4); }
  // The next `size` bytes, or nothing at all.
  absl::string_view Take(uint64_t size);

  size_t offset() const { return at_; }
  uint64_t left() const { return file_.size() - at_; }
  // InvalidArgument: what is wrong, and at which byte.
  const absl::Status& status() const { return status_; }
  // status(), or InvalidArgument if bytes are left over.
  absl::Status Finish() const;

 private:
  uint32_t Integer(int size);

  absl::string_view file_;
  size_t at_ = 0;
  absl::Status status_;
};

// Word `index` of a table of little-endian 16-bit words.
inline uint16_t WordAt(absl::string_view table, size_t index) {
  return static_cast<uint16_t>(static_cast<uint8_t>(table[2 * index]) |
                               static_cast<uint8_t>(table[2 * index + 1]) << 8);
}

}  // namespace amc
