#include "base/npy.h"

#include <cstring>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"

namespace amc {
namespace {

constexpr char kMagic[] = "\x93NUMPY";
constexpr size_t kMagicSize = 6;
constexpr int64_t kMaxElements = int64_t{1} << 40;

absl::Status Bad(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("not a .npy that can be read: ", what));
}

// The header's text; `rest` becomes what follows it.
absl::StatusOr<absl::string_view> SplitHeader(absl::string_view& rest) {
  if (rest.size() < kMagicSize + 4 || rest.substr(0, kMagicSize) != kMagic) {
    return Bad("the first bytes are not \\x93NUMPY");
  }
  const auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<uint8_t>(rest[i])); };
  const uint32_t version = byte(6);
  if (version < 1 || version > 3) return Bad(absl::StrCat("version ", version, ", want 1 to 3"));
  size_t begin = kMagicSize + 4;
  size_t length = byte(8) | byte(9) << 8;
  if (version > 1) {
    begin += 2;
    if (rest.size() < begin) return Bad("cut short in the header's length");
    length |= byte(10) << 16 | byte(11) << 24;
  }
  if (rest.size() - begin < length) {
    return Bad(
        absl::StrCat("the header has ", length, " bytes, ", rest.size() - begin, " are left"));
  }
  const absl::string_view header = rest.substr(begin, length);
  rest.remove_prefix(begin + length);
  return header;
}

// The text of `key`'s value in the dictionary: up to `end`, the character that closes it.
absl::StatusOr<std::string> ValueOf(absl::string_view header, absl::string_view key, char end) {
  const size_t at = header.find(absl::StrCat("'", key, "'"));
  const size_t colon = at == absl::string_view::npos ? at : header.find(':', at);
  const size_t close = colon == absl::string_view::npos ? colon : header.find(end, colon);
  if (close == absl::string_view::npos) return Bad(absl::StrCat("its header has no '", key, "'"));
  return std::string(absl::StripAsciiWhitespace(header.substr(colon + 1, close - colon - 1)));
}

absl::StatusOr<std::vector<int64_t>> ParseShape(absl::string_view text) {
  if (text.empty() || text[0] != '(') return Bad(absl::StrCat("shape ", text));
  std::vector<int64_t> shape;
  int64_t elements = 1;
  for (const absl::string_view part : absl::StrSplit(text.substr(1), ',')) {
    const absl::string_view digits = absl::StripAsciiWhitespace(part);
    if (digits.empty()) continue;  // "(3,)"
    int64_t size = 0;
    if (!absl::SimpleAtoi(digits, &size) || size < 0 ||
        __builtin_mul_overflow(elements, size, &elements) || elements > kMaxElements) {
      return Bad(absl::StrCat("shape ", text, ")"));
    }
    shape.push_back(size);
  }
  return shape;
}

}  // namespace

absl::StatusOr<NpyArray> ParseNpy(absl::string_view bytes) {
  AMC_ASSIGN_OR_RETURN(const absl::string_view header, SplitHeader(bytes));
  AMC_ASSIGN_OR_RETURN(const std::string type, ValueOf(header, "descr", ','));
  if (type != "'<f4'" && type != "'f4'") {
    return Bad(absl::StrCat("its elements are ", type, ", want '<f4' (float32)"));
  }
  AMC_ASSIGN_OR_RETURN(const std::string fortran, ValueOf(header, "fortran_order", ','));
  if (fortran != "False") {
    return Bad(absl::StrCat("fortran_order is ", fortran, ", want False (C order)"));
  }
  const absl::StatusOr<std::string> shape = ValueOf(header, "shape", ')');
  AMC_RETURN_IF_ERROR(shape.status());
  NpyArray array;
  AMC_ASSIGN_OR_RETURN(array.shape, ParseShape(*shape));
  size_t elements = 1;
  for (const int64_t size : array.shape) elements *= static_cast<size_t>(size);
  if (bytes.size() != elements * sizeof(float)) {
    return Bad(absl::StrCat("shape ", *shape, ") needs ", elements * sizeof(float), " bytes, ",
                            bytes.size(), " are there"));
  }
  array.values.resize(elements);
  if (elements > 0) std::memcpy(array.values.data(), bytes.data(), bytes.size());
  return array;
}

std::string SerializeNpy(const NpyArray& array) {
  std::string header =
      absl::StrCat("{'descr': '<f4', 'fortran_order': False, 'shape': (",
                   absl::StrJoin(array.shape, ", "), array.shape.size() == 1 ? ",), }" : "), }");
  const size_t unpadded = kMagicSize + 4 + header.size() + 1;
  header.append((64 - unpadded % 64) % 64, ' ');
  header += '\n';
  std::string bytes(kMagic, kMagicSize);
  bytes += '\x01';
  bytes += '\0';
  bytes += static_cast<char>(header.size() & 0xFF);
  bytes += static_cast<char>(header.size() >> 8);
  bytes += header;
  bytes.append(reinterpret_cast<const char*>(array.values.data()),
               array.values.size() * sizeof(float));
  return bytes;
}

}  // namespace amc
