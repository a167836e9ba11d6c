// UTF-8, which protobuf's strings must be: a message with another byte in one cannot be read back.
#pragma once

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace amc {

// How many leading bytes of `bytes` are whole UTF-8 characters (RFC 3629: no overlong forms, no
// surrogates, nothing above U+10FFFF). All of them if `bytes` is UTF-8.
size_t Utf8Prefix(absl::string_view bytes);

inline bool IsUtf8(absl::string_view bytes) { return Utf8Prefix(bytes) == bytes.size(); }

// `bytes` with U+FFFD in place of each byte that is part of no character: what of a name or message
// from outside may stand in a protobuf or on a terminal.
std::string ToUtf8(absl::string_view bytes);

}  // namespace amc
