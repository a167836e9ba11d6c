#include "server/cli/sparsity_text.h"

#include <CLI/CLI.hpp>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "amc/v1/model.pb.h"
#include "server/cli/checks.h"
#include "server/cli/exit_status.h"

namespace amc {
namespace {

// The granularities that are words.
std::vector<std::string> Words() {
  std::vector<std::string> words = ShortEnumNames(*v1::Granularity_descriptor());
  std::erase(words, "channel");
  std::erase(words, "nm");
  return words;
}

}  // namespace

absl::StatusOr<SparsityText> ParseSparsity(const std::string& text) {
  const std::pair<std::string, std::string> parts = absl::StrSplit(text, absl::MaxSplits(':', 1));
  SparsityText sparsity{.granularity = Granularity::kNM};
  if (absl::SimpleAtoi(parts.first, &sparsity.n) && absl::SimpleAtoi(parts.second, &sparsity.m)) {
    if (sparsity.n >= 1 && sparsity.n < sparsity.m && sparsity.m <= 64 &&
        sparsity.m % sparsity.n == 0) {
      return sparsity;
    }
  }
  const google::protobuf::EnumDescriptor& type = *v1::Granularity_descriptor();
  for (int i = 0; i < type.value_count(); ++i) {
    const google::protobuf::EnumValueDescriptor& value = *type.value(i);
    if (value.number() <= v1::GRANULARITY_CHANNEL || value.number() == v1::GRANULARITY_NM) continue;
    if (ShortEnumName(value) == text) {
      return SparsityText{.granularity = static_cast<Granularity>(value.number())};
    }
  }
  return UsageError(absl::StrCat("\"", text, "\" is none of ", absl::StrJoin(Words(), ", "),
                                 " and N:M, as 2:4, with M at most 64 and a multiple of N"));
}

std::vector<std::string> SparsityFields(const SparsityText& sparsity) {
  const google::protobuf::EnumValueDescriptor* const value =
      v1::Granularity_descriptor()->FindValueByNumber(static_cast<int>(sparsity.granularity));
  std::vector<std::string> fields = {
      absl::StrCat("space.sparsity.granularity=", ShortEnumName(*value))};
  if (sparsity.granularity == Granularity::kNM) {
    fields.push_back(absl::StrCat("space.sparsity.n=", sparsity.n));
    fields.push_back(absl::StrCat("space.sparsity.m=", sparsity.m));
  }
  return fields;
}

CLI::Validator SparsityCheck() {
  return CLI::Validator(
      [](std::string& text) { return std::string(ParseSparsity(text).status().message()); },
      "GRANULARITY|N:M");
}

}  // namespace amc
