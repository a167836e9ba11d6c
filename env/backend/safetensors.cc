#include "env/backend/safetensors.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/bytes.h"
#include "base/status_macros.h"
#include "base/utf8.h"

namespace amc {
namespace {

constexpr uint64_t kMostHeader = 100'000'000;
constexpr size_t kLengthSize = 8;
constexpr size_t kAlignment = 8;

std::string Describe(SafetensorsType type, const std::vector<int64_t>& shape) {
  const std::string sizes = absl::StrJoin(shape, ", ", [](std::string* out, int64_t size) {
    absl::StrAppend(out, size == kAnySize ? "any" : absl::StrCat(size));
  });
  return absl::StrCat(SafetensorsTypeName(type), " [", sizes, "]");
}

absl::Status CheckSize(const std::string& name, SafetensorsType type,
                       const std::vector<int64_t>& shape, uint64_t bytes) {
  int64_t want = SafetensorsTypeSize(type);
  bool overflow = false;
  for (const int64_t size : shape) {
    overflow |= size < 0 || __builtin_mul_overflow(want, size, &want);
  }
  if (overflow || static_cast<uint64_t>(want) != bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("tensor ", name, ": ", bytes, " bytes do not fit ", Describe(type, shape)));
  }
  return absl::OkStatus();
}

absl::Status CheckText(const std::string& text) {
  if (IsUtf8(text)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("\"", ToUtf8(text), "\" is not UTF-8"));
}

// The order in which tensors are written.
using NamedTensor = std::pair<const std::string, SafetensorsTensor>;
bool Precedes(const NamedTensor* a, const NamedTensor* b) {
  return std::tie(b->second.type, a->first) < std::tie(a->second.type, b->first);
}

}  // namespace

absl::StatusOr<std::string> SerializeSafetensors(const Safetensors& content) {
  for (const auto& [key, value] : content.metadata) {
    AMC_RETURN_IF_ERROR(CheckText(key));
    AMC_RETURN_IF_ERROR(CheckText(value));
  }
  std::vector<const NamedTensor*> tensors;
  for (const NamedTensor& tensor : content.tensors) {
    AMC_RETURN_IF_ERROR(CheckText(tensor.first));
    AMC_RETURN_IF_ERROR(CheckSize(tensor.first, tensor.second.type, tensor.second.shape,
                                  tensor.second.bytes.size()));
    if (tensor.first == "__metadata__") {
      return absl::InvalidArgumentError("a tensor cannot be called __metadata__");
    }
    tensors.push_back(&tensor);
  }
  std::sort(tensors.begin(), tensors.end(), Precedes);

  SafetensorsHeader header{content.metadata};
  int64_t end = 0;
  for (const NamedTensor* tensor : tensors) {
    const int64_t begin = end;
    end += static_cast<int64_t>(tensor->second.bytes.size());
    header.entries.push_back(
        {tensor->first, tensor->second.type, tensor->second.shape, begin, end});
  }
  std::string text = SerializeSafetensorsHeader(header);
  text.append((kAlignment - text.size() % kAlignment) % kAlignment, ' ');
  if (text.size() > kMostHeader) {
    return absl::InvalidArgumentError(
        absl::StrCat("a header of ", text.size(), " bytes, want at most ", kMostHeader));
  }
  ByteWriter writer;
  writer.String(text);
  std::string file = std::move(writer).bytes();
  for (const NamedTensor* tensor : tensors) {
    file.append(tensor->second.bytes.data(), tensor->second.bytes.size());
  }
  return file;
}

absl::StatusOr<Safetensors> ParseSafetensors(absl::string_view file) {
  if (file.size() < kLengthSize) {
    return absl::InvalidArgumentError(
        absl::StrCat(file.size(), " bytes, want the 8 of the header's length"));
  }
  const uint64_t length = ByteReader(file).U64();
  const uint64_t left = file.size() - kLengthSize;
  if (length > kMostHeader || length > left) {
    return absl::InvalidArgumentError(absl::StrCat(
        "byte 0: a header of ", length, " bytes, want at most ", std::min(kMostHeader, left)));
  }
  AMC_ASSIGN_OR_RETURN(SafetensorsHeader header,
                       ParseSafetensorsHeader(file.substr(kLengthSize, length), kLengthSize));
  std::sort(header.entries.begin(), header.entries.end(),
            [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
              return std::tie(a.begin, a.end) < std::tie(b.begin, b.end);
            });

  const absl::string_view data = file.substr(kLengthSize + length);
  Safetensors content{std::move(header.metadata)};
  int64_t end = 0;
  for (const SafetensorsEntry& entry : header.entries) {
    if (entry.begin != end || entry.end < entry.begin ||
        static_cast<uint64_t>(entry.end) > data.size()) {
      return absl::InvalidArgumentError(absl::StrCat("tensor ", entry.name, ": data from ",
                                                     entry.begin, " to ", entry.end, ", want from ",
                                                     end, " to at most ", data.size()));
    }
    end = entry.end;
    const absl::string_view bytes = data.substr(entry.begin, entry.end - entry.begin);
    AMC_RETURN_IF_ERROR(CheckSize(entry.name, entry.type, entry.shape, bytes.size()));
    content.tensors[entry.name] = {entry.type, entry.shape, bytes};
  }
  if (static_cast<uint64_t>(end) != data.size()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "tensors end at byte ", file.size() - data.size() + end, ", the file at ", file.size()));
  }
  return content;
}

absl::StatusOr<SafetensorsTensor> FindTensor(const Safetensors& content, const std::string& name,
                                             SafetensorsType type,
                                             const std::vector<int64_t>& shape) {
  const auto found = content.tensors.find(name);
  if (found == content.tensors.end()) {
    return absl::InvalidArgumentError(absl::StrCat("there is no tensor ", name));
  }
  const SafetensorsTensor& tensor = found->second;
  const bool fits =
      std::equal(tensor.shape.begin(), tensor.shape.end(), shape.begin(), shape.end(),
                 [](int64_t size, int64_t want) { return want == kAnySize || size == want; });
  if (tensor.type != type || !fits) {
    return absl::InvalidArgumentError(absl::StrCat("tensor ", name, ": ",
                                                   Describe(tensor.type, tensor.shape), ", want ",
                                                   Describe(type, shape)));
  }
  return tensor;
}

absl::StatusOr<std::string> FindText(const Safetensors& content, const std::string& key) {
  const auto found = content.metadata.find(key);
  if (found == content.metadata.end()) {
    return absl::InvalidArgumentError(absl::StrCat("the metadata has no ", key));
  }
  return found->second;
}

absl::StatusOr<int64_t> FindInteger(const Safetensors& content, const std::string& key,
                                    int64_t least, int64_t most) {
  AMC_ASSIGN_OR_RETURN(const std::string text, FindText(content, key));
  int64_t value = 0;
  if (!absl::SimpleAtoi(text, &value) || value < least || value > most) {
    return absl::InvalidArgumentError(absl::StrCat("metadata ", key, ": \"", text,
                                                   "\", want a number from ", least, " to ", most));
  }
  return value;
}

}  // namespace amc
