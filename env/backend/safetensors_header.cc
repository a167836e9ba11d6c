#include "env/backend/safetensors_header.h"

#include <array>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "base/utf8.h"

namespace amc {
namespace {

constexpr char kMetadata[] = "__metadata__";

struct TypeRow {
  absl::string_view name;
  int64_t size;
};
// By SafetensorsType.
constexpr std::array<TypeRow, 8> kTypes = {{{"U8", 1},
                                            {"I8", 1},
                                            {"I16", 2},
                                            {"F16", 2},
                                            {"BF16", 2},
                                            {"I32", 4},
                                            {"F32", 4},
                                            {"I64", 8}}};

std::optional<SafetensorsType> TypeOf(absl::string_view name) {
  for (size_t i = 0; i < kTypes.size(); ++i) {
    if (kTypes[i].name == name) return static_cast<SafetensorsType>(i);
  }
  return std::nullopt;
}

void AppendUtf8(uint32_t point, std::string& out) {
  const auto byte = [&](uint32_t value) { out.push_back(static_cast<char>(value)); };
  const auto continuation = [&](int shift) { byte(0x80 | (point >> shift & 0x3f)); };
  if (point < 0x80) return byte(point);
  if (point < 0x800) {
    byte(0xc0 | point >> 6);
  } else if (point < 0x10000) {
    byte(0xe0 | point >> 12);
    continuation(6);
  } else {
    byte(0xf0 | point >> 18);
    continuation(12);
    continuation(6);
  }
  continuation(0);
}

// Recursive descent over the text, which is UTF-8.
class Parser {
 public:
  Parser(absl::string_view text, size_t offset) : text_(text), offset_(offset) {}

  absl::StatusOr<SafetensorsHeader> Parse() {
    if (text_.empty() || text_[0] != '{') return Error("the header does not begin with '{'");
    SafetensorsHeader header;
    AMC_RETURN_IF_ERROR(ParseObject([&](std::string key) -> absl::Status {
      if (key == kMetadata) {
        return ParseObject([&](std::string name) -> absl::Status {
          AMC_ASSIGN_OR_RETURN(header.metadata[name], ParseString());
          return absl::OkStatus();
        });
      }
      AMC_ASSIGN_OR_RETURN(SafetensorsEntry entry, ParseEntry());
      entry.name = std::move(key);
      header.entries.push_back(std::move(entry));
      return absl::OkStatus();
    }));
    SkipSpace();
    if (at_ < text_.size()) return Error("the header goes on after its object");
    return header;
  }

 private:
  absl::Status Error(absl::string_view what) const {
    return absl::InvalidArgumentError(absl::StrCat("byte ", offset_ + at_, ": ", what));
  }

  void SkipSpace() {
    while (at_ < text_.size() &&
           (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n' || text_[at_] == '\r')) {
      ++at_;
    }
  }

  // Whether `c` is next, after spaces. Passes it if so.
  bool Consume(char c) {
    SkipSpace();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  absl::Status Expect(char c) {
    return Consume(c) ? absl::OkStatus() : Error(absl::StrFormat("want '%c'", c));
  }

  // Calls `parse_value(key)` with the parser standing before each key's value.
  template <typename ParseValue>
  absl::Status ParseObject(ParseValue parse_value) {
    AMC_RETURN_IF_ERROR(Expect('{'));
    if (Consume('}')) return absl::OkStatus();
    std::set<std::string> keys;
    do {
      AMC_ASSIGN_OR_RETURN(std::string key, ParseString());
      if (!keys.insert(key).second) return Error(absl::StrCat("key \"", key, "\" comes twice"));
      AMC_RETURN_IF_ERROR(Expect(':'));
      AMC_RETURN_IF_ERROR(parse_value(std::move(key)));
    } while (Consume(','));
    return Expect('}');
  }

  absl::StatusOr<SafetensorsEntry> ParseEntry() {
    SafetensorsEntry entry;
    bool type = false, shape = false, offsets = false;
    AMC_RETURN_IF_ERROR(ParseObject([&](absl::string_view key) -> absl::Status {
      if (key == "dtype") {
        type = true;
        AMC_ASSIGN_OR_RETURN(const std::string name, ParseString());
        const std::optional<SafetensorsType> known = TypeOf(name);
        if (!known) return Error(absl::StrCat("dtype \"", name, "\" is not one that is read"));
        entry.type = *known;
        return absl::OkStatus();
      }
      if (key == "shape") {
        shape = true;
        AMC_ASSIGN_OR_RETURN(entry.shape, ParseIntegers());
        return absl::OkStatus();
      }
      if (key == "data_offsets") {
        offsets = true;
        AMC_ASSIGN_OR_RETURN(const std::vector<int64_t> range, ParseIntegers());
        if (range.size() != 2) {
          return Error(absl::StrCat("data_offsets has ", range.size(), " numbers, want 2"));
        }
        entry.begin = range[0];
        entry.end = range[1];
        return absl::OkStatus();
      }
      return Error(absl::StrCat("key \"", key, "\", want dtype, shape, data_offsets"));
    }));
    if (!type || !shape || !offsets) return Error("a tensor lacks dtype, shape or data_offsets");
    return entry;
  }

  absl::StatusOr<std::vector<int64_t>> ParseIntegers() {
    AMC_RETURN_IF_ERROR(Expect('['));
    std::vector<int64_t> integers;
    if (Consume(']')) return integers;
    do {
      AMC_ASSIGN_OR_RETURN(const int64_t integer, ParseInteger());
      integers.push_back(integer);
    } while (Consume(','));
    AMC_RETURN_IF_ERROR(Expect(']'));
    return integers;
  }

  absl::StatusOr<int64_t> ParseInteger() {
    SkipSpace();
    const size_t begin = at_;
    int64_t value = 0;
    for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) {
      if (__builtin_mul_overflow(value, 10, &value) ||
          __builtin_add_overflow(value, text_[at_] - '0', &value)) {
        return Error("a number is greater than 2^63 - 1");
      }
    }
    if (at_ == begin) return Error("want a number that is not negative");
    if (text_[begin] == '0' && at_ > begin + 1) return Error("a number begins with 0");
    return value;
  }

  absl::StatusOr<std::string> ParseString() {
    AMC_RETURN_IF_ERROR(Expect('"'));
    std::string value;
    for (; at_ < text_.size(); ++at_) {
      const char c = text_[at_];
      if (c == '"') {
        ++at_;
        return value;
      }
      if (static_cast<uint8_t>(c) < 0x20) return Error("a control character in a string");
      if (c != '\\') {
        value.push_back(c);
      } else {
        AMC_RETURN_IF_ERROR(ParseEscape(value));
      }
    }
    return Error("a string does not end");
  }

  // From the backslash to the last character of the escape.
  absl::Status ParseEscape(std::string& value) {
    constexpr absl::string_view kLetters = "\"\\/bfnrt", kMeanings = "\"\\/\b\f\n\r\t";
    if (++at_ == text_.size()) return Error("a string does not end");
    if (const size_t letter = kLetters.find(text_[at_]); letter != absl::string_view::npos) {
      value.push_back(kMeanings[letter]);
      return absl::OkStatus();
    }
    if (text_[at_] != 'u') return Error("an unknown escape in a string");
    AMC_ASSIGN_OR_RETURN(uint32_t point, ParseHex());
    if (point >= 0xd800 && point < 0xe000) {  // UTF-16: two escapes for one character
      if (text_.substr(at_ + 1, 2) != "\\u") return Error("half a surrogate pair");
      at_ += 2;
      AMC_ASSIGN_OR_RETURN(const uint32_t low, ParseHex());
      if (point >= 0xdc00 || low < 0xdc00 || low >= 0xe000) return Error("half a surrogate pair");
      point = 0x10000 + ((point - 0xd800) << 10) + (low - 0xdc00);
    }
    AppendUtf8(point, value);
    return absl::OkStatus();
  }

  // From the u to the last of four digits.
  absl::StatusOr<uint32_t> ParseHex() {
    uint32_t value = 0;
    for (int i = 0; i < 4; ++i) {
      if (++at_ == text_.size()) return Error("a string does not end");
      const char c = text_[at_];
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0) return Error("\\u without four hexadecimal digits");
      value = value << 4 | static_cast<uint32_t>(digit);
    }
    return value;
  }

  const absl::string_view text_;
  const size_t offset_;
  size_t at_ = 0;
};

std::string Quoted(absl::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    switch (c) {
      case '"':
      case '\\':
        quoted += {'\\', c};
        break;
      case '\n':
        quoted += "\\n";
        break;
      case '\r':
        quoted += "\\r";
        break;
      case '\t':
        quoted += "\\t";
        break;
      default:
        if (static_cast<uint8_t>(c) < 0x20) {
          quoted += absl::StrFormat("\\u%04x", c);
        } else {
          quoted.push_back(c);
        }
    }
  }
  return quoted + '"';
}

}  // namespace

absl::string_view SafetensorsTypeName(SafetensorsType type) {
  return kTypes[static_cast<size_t>(type)].name;
}

int64_t SafetensorsTypeSize(SafetensorsType type) { return kTypes[static_cast<size_t>(type)].size; }

absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(absl::string_view text, size_t offset) {
  if (const size_t good = Utf8Prefix(text); good < text.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("byte ", offset + good, ": the header is not UTF-8"));
  }
  return Parser(text, offset).Parse();
}

std::string SerializeSafetensorsHeader(const SafetensorsHeader& header) {
  std::vector<std::string> members;
  if (!header.metadata.empty()) {
    std::vector<std::string> texts;
    for (const auto& [key, value] : header.metadata) {
      texts.push_back(absl::StrCat(Quoted(key), ":", Quoted(value)));
    }
    members.push_back(absl::StrCat("\"", kMetadata, "\":{", absl::StrJoin(texts, ","), "}"));
  }
  for (const SafetensorsEntry& entry : header.entries) {
    members.push_back(absl::StrCat(Quoted(entry.name), ":{\"dtype\":\"",
                                   SafetensorsTypeName(entry.type), "\",\"shape\":[",
                                   absl::StrJoin(entry.shape, ","), "],\"data_offsets\":[",
                                   entry.begin, ",", entry.end, "]}"));
  }
  return absl::StrCat("{", absl::StrJoin(members, ","), "}");
}

}  // namespace amc
