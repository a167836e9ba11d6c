// Numbers and strings to bytes and back, for state that is stored and restored.
//
// Little-endian, without padding or alignment: integers and IEEE floats as they are, strings and
// arrays with a 64-bit count in front. The reader never reads past the end: the first read that
// does not fit latches an error, every later one returns zero or nothing, and Finish() tells. A
// reader therefore needs one check, at its end, before anything it read is used.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace amc {

class ByteWriter {
 public:
  void U8(uint8_t value) { bytes_.push_back(static_cast<char>(value)); }
  void U32(uint32_t value) { Integer(value, 4); }
  void U64(uint64_t value) { Integer(value, 8); }
  void I64(int64_t value) { U64(static_cast<uint64_t>(value)); }
  void Float(float value);
  void Double(double value);
  void String(absl::string_view value);
  void Floats(absl::Span<const float> values);
  void Doubles(absl::Span<const double> values);

  const std::string& bytes() const& { return bytes_; }
  std::string bytes() && { return std::move(bytes_); }

 private:
  void Integer(uint64_t value, int size);
  std::string bytes_;
};

// Refers to the bytes, which must outlive it.
class ByteReader {
 public:
  explicit ByteReader(absl::string_view bytes) : rest_(bytes), size_(bytes.size()) {}

  uint8_t U8() { return static_cast<uint8_t>(Integer(1)); }
  uint32_t U32() { return static_cast<uint32_t>(Integer(4)); }
  uint64_t U64() { return Integer(8); }
  int64_t I64() { return static_cast<int64_t>(U64()); }
  float Float();
  double Double();
  std::string String();
  std::vector<float> Floats();
  std::vector<double> Doubles();
  // A count of things that take at least `element_size` bytes each: never more than are left, so
  // that a wrong count cannot make the caller allocate.
  uint64_t Count(size_t element_size);

  bool failed() const { return failed_; }
  // InvalidArgument if a read went past the end or if bytes are left over.
  absl::Status Finish() const;

 private:
  uint64_t Integer(int size);
  // The next `size` bytes, or nothing at all.
  absl::string_view Take(size_t size);

  absl::string_view rest_;
  size_t size_;
  bool failed_ = false;
};

}  // namespace amc
