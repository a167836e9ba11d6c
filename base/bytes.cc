#include "base/bytes.h"

#include <bit>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace amc {

void ByteWriter::Integer(uint64_t value, int size) {
  for (int i = 0; i < size; ++i) bytes_.push_back(static_cast<char>(value >> (8 * i) & 0xff));
}

void ByteWriter::Float(float value) { U32(std::bit_cast<uint32_t>(value)); }
void ByteWriter::Double(double value) { U64(std::bit_cast<uint64_t>(value)); }

void ByteWriter::String(absl::string_view value) {
  U64(value.size());
  bytes_.append(value.data(), value.size());
}

void ByteWriter::Floats(absl::Span<const float> values) {
  U64(values.size());
  if constexpr (std::endian::native == std::endian::little) {
    bytes_.append(reinterpret_cast<const char*>(values.data()), 4 * values.size());
  } else {
    for (const float value : values) Float(value);
  }
}

void ByteWriter::Doubles(absl::Span<const double> values) {
  U64(values.size());
  for (const double value : values) Double(value);
}

absl::string_view ByteReader::Take(size_t size) {
  if (failed_ || size > rest_.size()) {
    failed_ = true;
    return {};
  }
  const absl::string_view taken = rest_.substr(0, size);
  rest_.remove_prefix(size);
  return taken;
}

uint64_t ByteReader::Integer(int size) {
  uint64_t value = 0;
  int shift = 0;
  for (const char c : Take(size)) {
    value |= uint64_t{static_cast<uint8_t>(c)} << shift;
    shift += 8;
  }
  return value;
}

float ByteReader::Float() { return std::bit_cast<float>(U32()); }
double ByteReader::Double() { return std::bit_cast<double>(U64()); }

uint64_t ByteReader::Count(size_t element_size) {
  const uint64_t count = U64();
  if (count > rest_.size() / element_size) failed_ = true;
  return failed_ ? 0 : count;
}

std::string ByteReader::String() { return std::string(Take(Count(1))); }

std::vector<float> ByteReader::Floats() {
  std::vector<float> values(Count(4));
  if constexpr (std::endian::native == std::endian::little) {
    const absl::string_view raw = Take(4 * values.size());
    if (!raw.empty()) std::memcpy(values.data(), raw.data(), raw.size());
  } else {
    for (float& value : values) value = Float();
  }
  return values;
}

std::vector<double> ByteReader::Doubles() {
  std::vector<double> values(Count(8));
  for (double& value : values) value = Double();
  return values;
}

absl::Status ByteReader::Finish() const {
  if (failed_) {
    return absl::InvalidArgumentError(
        absl::StrCat("state of ", size_, " bytes ends early or holds a count out of range"));
  }
  if (!rest_.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("state of ", size_, " bytes: ", rest_.size(), " are left over"));
  }
  return absl::OkStatus();
}

}  // namespace amc
