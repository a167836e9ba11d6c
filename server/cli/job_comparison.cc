#include "server/cli/job_comparison.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/sha256.h"
#include "google/protobuf/text_format.h"
#include "server/cli/checks.h"
#include "server/cli/job_template.h"
#include "server/rpc/on_latency.h"
#include "server/rpc/sparse_defaults.h"

namespace amc {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

constexpr size_t kShownDigits = 12;  // of a digest

// A field's value as people write it.
std::string Shown(const Message& message, const FieldDescriptor& field) {
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  if (field.is_repeated()) {
    std::vector<std::string> values;
    values.reserve(static_cast<size_t>(reflection.FieldSize(message, &field)));
    for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
      values.push_back(field.cpp_type() == FieldDescriptor::CPPTYPE_STRING
                           ? reflection.GetRepeatedString(message, &field, i)
                           : reflection.GetRepeatedMessage(message, &field, i).ShortDebugString());
    }
    return values.empty() ? "none" : absl::StrJoin(values, ", ");
  }
  if (field.has_presence() && !reflection.HasField(message, &field)) return "not set";
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_ENUM) {
    return ShortEnumName(*reflection.GetEnum(message, &field));
  }
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
    const std::string text = reflection.GetString(message, &field);
    return IsSha256Hex(text) ? text.substr(0, kShownDigits) : text;
  }
  std::string text;
  google::protobuf::TextFormat::PrintFieldValueToString(message, &field, -1, &text);
  return text;
}

void Compare(const Message& resolved, const Message& wanted, const std::string& path,
             std::vector<std::string>& differences) {
  for (int i = 0; i < resolved.GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor& field = *resolved.GetDescriptor()->field(i);
    const std::string name = path + field.name();
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE && !field.is_repeated()) {
      Compare(resolved.GetReflection()->GetMessage(resolved, &field),
              wanted.GetReflection()->GetMessage(wanted, &field), name + ".", differences);
      continue;
    }
    const std::string was = Shown(resolved, field), is = Shown(wanted, field);
    if (was != is) differences.push_back(absl::StrCat(name, " ", was, ", this command says ", is));
  }
}

}  // namespace

v1::JobSpec WithDefaults(const v1::JobSpec& spec) {
  v1::JobSpec full = DefaultJobSpec();
  if (!spec.has_budget()) full.clear_budget();
  if (spec.space().has_sparsity()) full.clear_space();
  full.MergeFrom(spec);
  if (full.space().has_sparsity()) SetSparseDefaults(*full.mutable_space());
  if (full.has_budget() && spec.budget().resource() == v1::RESOURCE_UNSPECIFIED) {
    full.mutable_budget()->set_resource(DefaultResource(full.space()));
  }
  if (!spec.space().has_channel_multiple() && IsOnLatency(spec)) {
    full.mutable_space()->clear_channel_multiple();
  }
  if (full.has_latency()) {
    v1::LatencySpec& latency = *full.mutable_latency();
    if (!latency.has_finalists()) latency.set_finalists(4);
    if (!latency.has_must_measure()) latency.set_must_measure(false);
  }
  const bool quality = full.search().reward() == v1::REWARD_KIND_QUALITY;
  if (spec.search().metric() == v1::QUALITY_METRIC_UNSPECIFIED && !quality) {
    full.mutable_search()->set_metric(v1::QUALITY_METRIC_TOP1);
  }
  return full;
}

std::vector<std::string> Differences(const v1::JobSpec& resolved, const v1::JobSpec& wanted) {
  // A job of an earlier version lacks the settings that came later.
  v1::JobSpec was = WithDefaults(resolved), is = WithDefaults(wanted);
  for (v1::JobSpec* spec : {&was, &is}) {
    spec->clear_name();
    spec->clear_priority();
    spec->clear_max_workers();
    spec->clear_requirements();
    spec->clear_reuse();
  }
  if (is.space().residual_path() == v1::RESIDUAL_PATH_UNSPECIFIED) {
    was.mutable_space()->clear_residual_path();
  }
  if (!is.space().has_channel_multiple()) was.mutable_space()->clear_channel_multiple();
  std::vector<std::string> differences;
  Compare(was, is, "", differences);
  return differences;
}

}  // namespace amc
