#include "server/cli/budget_text.h"

#include <CLI/CLI.hpp>
#include <cmath>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "base/status_macros.h"
#include "server/cli/checks.h"
#include "server/cli/exit_status.h"
#include "server/cli/format.h"

namespace amc {
namespace {

absl::StatusOr<v1::Resource> ParseResource(const std::string& name) {
  if (name == "memory") return v1::RESOURCE_ACTIVATION_BYTES;
  const google::protobuf::EnumDescriptor& type = *v1::Resource_descriptor();
  for (int i = 0; i < type.value_count(); ++i) {
    const google::protobuf::EnumValueDescriptor& value = *type.value(i);
    if (value.number() != 0 && ShortEnumName(value) == name) {
      return static_cast<v1::Resource>(value.number());
    }
  }
  return UsageError(absl::StrCat("\"", name, "\" is no resource; there are ",
                                 absl::StrJoin(ShortEnumNames(type), ", "),
                                 "; memory is short for activation_bytes"));
}

// The share of the original that "0.5" and "50%" are.
std::optional<double> ParseRatio(absl::string_view text) {
  const bool percent = absl::ConsumeSuffix(&text, "%");
  double value = 0;
  if (!absl::SimpleAtod(text, &value)) return std::nullopt;
  if (percent) value /= 100;
  return value > 0 && value <= 1 ? std::optional(value) : std::nullopt;
}

std::optional<int64_t> ParseAmount(v1::Resource resource, const std::string& text) {
  if (resource == v1::RESOURCE_LATENCY) {
    absl::Duration duration;
    if (!absl::ParseDuration(text, &duration) || duration >= absl::Hours(24)) return std::nullopt;
    return absl::ToInt64Nanoseconds(duration);
  }
  int64_t whole = 0;
  const bool has_unit = !text.empty() && !absl::ascii_isdigit(text.back());
  if (!has_unit && !absl::SimpleAtoi(text, &whole)) return std::nullopt;  // 1.5 of what?
  const bool is_count =
      resource != v1::RESOURCE_ACTIVATION_BYTES && resource != v1::RESOURCE_MODEL_BYTES;
  if (is_count && absl::StrContains(text, "i")) return std::nullopt;  // binary units are of bytes
  return ParseBytes(text);
}

}  // namespace

absl::StatusOr<v1::BudgetBound> ParseBudget(absl::string_view text) {
  v1::BudgetBound bound;
  const size_t equals = text.find('=');
  if (equals != absl::string_view::npos) {
    AMC_ASSIGN_OR_RETURN(const v1::Resource resource,
                         ParseResource(std::string(text.substr(0, equals))));
    bound.set_resource(resource);
    text.remove_prefix(equals + 1);
  }
  if (const std::optional<double> ratio = ParseRatio(text)) {
    bound.set_ratio(*ratio);
    return bound;
  }
  const std::optional<int64_t> amount = ParseAmount(bound.resource(), std::string(text));
  if (!amount || *amount < 1) {
    const bool latency = bound.resource() == v1::RESOURCE_LATENCY;
    return UsageError(absl::StrCat("\"", std::string(text),
                                   "\" is neither a ratio in (0, 1] nor an amount such as ",
                                   latency ? "20ms or 350us" : "640, 40M or 1.5G"));
  }
  bound.set_absolute(*amount);
  return bound;
}

CLI::Validator BudgetText() {
  return CLI::Validator(
      [](std::string& text) { return std::string(ParseBudget(text).status().message()); },
      "[RESOURCE=]TARGET");
}

CLI::Validator ResourceText() {
  return CLI::Validator(
      [](std::string& text) {
        const absl::StatusOr<v1::Resource> resource = ParseResource(text);
        if (!resource.ok()) return std::string(resource.status().message());
        text = ShortEnumName(*v1::Resource_descriptor()->FindValueByNumber(*resource));
        return std::string();
      },
      absl::StrCat("{", absl::StrJoin(ShortEnumNames(*v1::Resource_descriptor()), ","), "}"));
}

std::string AmountOf(v1::Resource resource, int64_t amount) {
  switch (resource) {
    case v1::RESOURCE_ACTIVATION_BYTES:
    case v1::RESOURCE_MODEL_BYTES:
      return HumanBytes(amount);
    case v1::RESOURCE_LATENCY:
      return amount < 1'000'000'000 ? absl::StrFormat("%#.4g ms", static_cast<double>(amount) / 1e6)
                                    : absl::StrFormat("%.0f ms", static_cast<double>(amount) / 1e6);
    default:
      return HumanCount(amount);
  }
}

std::string ResourceTitle(v1::Resource resource) {
  switch (resource) {
    case v1::RESOURCE_PARAMS:
      return "parameters";
    case v1::RESOURCE_ACTIVATION_BYTES:
      return "activation memory";
    case v1::RESOURCE_MODEL_BYTES:
      return "weights";
    case v1::RESOURCE_LATENCY:
      return "latency, predicted";
    case v1::RESOURCE_NONZEROS:
      return "weights not zero";
    default:
      return "MACs";
  }
}

}  // namespace amc
