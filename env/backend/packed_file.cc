#include "env/backend/packed_file.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace amc {

absl::Status CheckPackedSize(int64_t rows, int64_t columns) {
  if (rows < 1 || columns < 1 || rows > kMaxPackedValues / columns) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a matrix of ", rows, " x ", columns, ", want from 1 to ", kMaxPackedValues, " values"));
  }
  return absl::OkStatus();
}

absl::Status CheckPackedInputs(uint64_t size, int64_t columns, int64_t vectors) {
  const auto want = static_cast<uint64_t>(columns);
  if (vectors < 0 || size / want != static_cast<uint64_t>(vectors) || size % want != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(size, " inputs, want ", columns, " x ", vectors));
  }
  return absl::OkStatus();
}

PackedWriter::PackedWriter(absl::string_view magic, uint16_t version) : bytes_(magic) {
  U16(version);
}

void PackedWriter::Integer(uint32_t value, int size) {
  char bytes[sizeof(value)];
  for (int i = 0; i < size; ++i) bytes[i] = static_cast<char>(value >> (8 * i) & 0xff);
  bytes_.append(bytes, static_cast<size_t>(size));
}

PackedReader::PackedReader(absl::string_view file, absl::string_view magic, uint16_t version)
    : file_(file) {
  const absl::string_view found = Take(magic.size());
  if (status_.ok() && found != magic) {
    status_ = absl::InvalidArgumentError(
        absl::StrCat("byte 0: \"", absl::CHexEscape(found), "\", want \"", magic, "\""));
  }
  const uint16_t found_version = U16();
  if (status_.ok() && found_version != version) {
    status_ = absl::InvalidArgumentError(
        absl::StrCat("byte ", magic.size(), ": version ", found_version, ", want ", version));
  }
}

absl::string_view PackedReader::Take(uint64_t size) {
  if (!status_.ok()) return {};
  if (size > left()) {
    status_ = absl::InvalidArgumentError(
        absl::StrCat("byte ", at_, ": ", left(), " bytes are left, want ", size));
    return {};
  }
  const absl::string_view taken = file_.substr(at_, size);
  at_ += size;
  return taken;
}

uint32_t PackedReader::Integer(int size) {
  uint32_t value = 0;
  int shift = 0;
  for (const char c : Take(size)) {
    value |= uint32_t{static_cast<uint8_t>(c)} << shift;
    shift += 8;
  }
  return value;
}

absl::Status PackedReader::Finish() const {
  if (status_.ok() && left() > 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("byte ", at_, ": ", left(), " bytes are left over"));
  }
  return status_;
}

}  // namespace amc
