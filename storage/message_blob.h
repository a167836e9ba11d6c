// Protobuf messages as column values.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/message_lite.h"

namespace amc {

// The same bytes for the same message in one build (fields in order, maps sorted).
std::string ToBlob(const google::protobuf::MessageLite& message);

// The message in `bytes`; DataLoss, naming `what`, if there is none.
template <typename M>
absl::StatusOr<M> FromBlob(absl::string_view bytes, absl::string_view what) {
  M message;
  if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return absl::DataLossError(
        absl::StrCat(what, ": ", bytes.size(), " stored bytes are no ", message.GetTypeName()));
  }
  return message;
}

}  // namespace amc
