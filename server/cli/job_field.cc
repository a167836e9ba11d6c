#include "server/cli/job_field.h"

#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "server/cli/checks.h"
#include "server/cli/exit_status.h"

namespace amc {
namespace {

using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// Sets the field to the value that `parse` finds in the text, which is `otherwise` if it finds
// none.
template <typename T>
absl::Status SetParsed(Message& message, const FieldDescriptor& field, const std::string& text,
                       bool (*parse)(absl::string_view, T*),
                       void (Reflection::*set)(Message*, const FieldDescriptor*, T) const,
                       absl::string_view otherwise) {
  T value{};
  if (!parse(text, &value)) {
    return UsageError(absl::StrCat(field.name(), ": \"", text, "\" is ", otherwise));
  }
  (message.GetReflection()->*set)(&message, &field, value);
  return absl::OkStatus();
}

absl::Status SetScalar(Message& message, const FieldDescriptor& field, const std::string& text) {
  const Reflection& reflection = *message.GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      if (field.is_repeated()) {
        reflection.AddString(&message, &field, text);
      } else {
        reflection.SetString(&message, &field, text);
      }
      return absl::OkStatus();
    case FieldDescriptor::CPPTYPE_INT64:
      return SetParsed<int64_t>(message, field, text, absl::SimpleAtoi<int64_t>,
                                &Reflection::SetInt64, "no whole number");
    case FieldDescriptor::CPPTYPE_UINT64:
      return SetParsed<uint64_t>(message, field, text, absl::SimpleAtoi<uint64_t>,
                                 &Reflection::SetUInt64, "no whole number from 0");
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return SetParsed<double>(message, field, text, absl::SimpleAtod, &Reflection::SetDouble,
                               "no number");
    case FieldDescriptor::CPPTYPE_BOOL:
      return SetParsed<bool>(message, field, text, absl::SimpleAtob, &Reflection::SetBool,
                             "neither true nor false");
    case FieldDescriptor::CPPTYPE_ENUM: {
      const EnumDescriptor& type = *field.enum_type();
      const google::protobuf::EnumValueDescriptor* value = nullptr;
      for (int i = 0; i < type.value_count(); ++i) {
        const auto& candidate = *type.value(i);
        const bool named = absl::EqualsIgnoreCase(candidate.name(), text) ||
                           absl::EqualsIgnoreCase(ShortEnumName(candidate), text);
        if (named && candidate.number() != 0) value = &candidate;
      }
      if (value == nullptr) {
        return UsageError(absl::StrCat(field.name(), ": \"", text, "\" is none of ",
                                       absl::StrJoin(ShortEnumNames(type), ", ")));
      }
      reflection.SetEnum(&message, &field, value);
      return absl::OkStatus();
    }
    default:
      return UsageError(absl::StrCat(field.name(), " cannot be set from text"));
  }
}

}  // namespace

absl::Status SetField(const std::string& assignment, v1::JobSpec& spec) {
  const size_t equals = assignment.find('=');
  if (equals == std::string::npos) {
    return UsageError(absl::StrCat("--set ", assignment, ": FIELD=VALUE expected"));
  }
  const std::vector<std::string> path = absl::StrSplit(assignment.substr(0, equals), '.');
  Message* message = &spec;
  for (size_t i = 0; i < path.size(); ++i) {
    const FieldDescriptor* field = message->GetDescriptor()->FindFieldByName(path[i]);
    const bool last = i + 1 == path.size();
    const bool nested = field != nullptr && field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
    if (field == nullptr || last == nested || (nested && field->is_repeated())) {
      return UsageError(
          absl::StrCat(assignment.substr(0, equals), ": a job file has no such field"));
    }
    if (last) return SetScalar(*message, *field, assignment.substr(equals + 1));
    message = message->GetReflection()->MutableMessage(message, field);
  }
  return absl::OkStatus();
}

}  // namespace amc
