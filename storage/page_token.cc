#include "storage/page_token.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/bytes.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "storage/message_blob.h"

namespace amc {

uint64_t QueryFingerprint(const google::protobuf::Message& request) {
  const std::unique_ptr<google::protobuf::Message> query(request.New());
  query->CopyFrom(request);
  for (const char* name : {"page_size", "page_token"}) {
    const auto* field = query->GetDescriptor()->FindFieldByName(name);
    if (field != nullptr) query->GetReflection()->ClearField(query.get(), field);
  }
  const std::string digest =
      Sha256Hex(absl::StrCat(query->GetDescriptor()->full_name(), "\n", ToBlob(*query)));
  const std::string bytes = absl::HexStringToBytes(digest.substr(0, 16));
  return ByteReader(bytes).U64();
}

std::string EncodePageToken(uint64_t fingerprint, const PageKey& key) {
  ByteWriter writer;
  writer.U64(fingerprint);
  const double* real = std::get_if<double>(&key.key);
  writer.U8(real != nullptr);
  if (real != nullptr) {
    writer.Double(*real);
  } else {
    writer.I64(std::get<int64_t>(key.key));
  }
  writer.I64(key.number);
  writer.String(key.text);
  return absl::WebSafeBase64Escape(writer.bytes());
}

absl::StatusOr<PageKey> DecodePageToken(absl::string_view token, uint64_t fingerprint) {
  std::string bytes;
  if (!absl::WebSafeBase64Unescape(token, &bytes)) {
    return absl::InvalidArgumentError("page_token: not a token of this service");
  }
  ByteReader reader(bytes);
  const uint64_t made_for = reader.U64();
  PageKey key;
  if (reader.U8() != 0) {
    key.key = reader.Double();
  } else {
    key.key = reader.I64();
  }
  key.number = reader.I64();
  key.text = reader.String();
  AMC_RETURN_IF_ERROR(Annotate(reader.Finish(), "page_token"));
  if (made_for != fingerprint) {
    return absl::InvalidArgumentError(
        "page_token: made for another query; filter and order must stay the same between pages");
  }
  return key;
}

absl::StatusOr<int64_t> PageSize(int64_t requested, int64_t fallback, int64_t most) {
  if (requested < 0) {
    return absl::InvalidArgumentError(absl::StrCat("page_size: ", requested, " is negative"));
  }
  return requested == 0 ? fallback : std::min(requested, most);
}

}  // namespace amc
