// Early return for absl::Status and absl::StatusOr, which Debian's Abseil (20220623) lacks.
//
//   AMC_RETURN_IF_ERROR(WriteFile(path, bytes));
//   AMC_ASSIGN_OR_RETURN(const Graph graph, ImportOnnx(bytes));
//
// Annotate() puts what was being done before the message of a failed call, keeping its code.
#pragma once

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace amc {

// Returns `status` with `context` and a colon in front of its message. OK stays OK.
inline absl::Status Annotate(const absl::Status& status, absl::string_view context) {
  if (status.ok()) return status;
  absl::Status annotated(status.code(), absl::StrCat(context, ": ", status.message()));
  status.ForEachPayload([&](absl::string_view url, const absl::Cord& payload) {
    annotated.SetPayload(url, payload);
  });
  return annotated;
}

}  // namespace amc

#define AMC_RETURN_IF_ERROR(expr)                                                 \
  do {                                                                            \
    if (absl::Status amc_status_ = (expr); !amc_status_.ok()) return amc_status_; \
  } while (false)

#define AMC_MACRO_CONCAT_INNER(a, b) a##b
#define AMC_MACRO_CONCAT(a, b) AMC_MACRO_CONCAT_INNER(a, b)

#define AMC_ASSIGN_OR_RETURN(lhs, expr) \
  AMC_ASSIGN_OR_RETURN_IMPL(AMC_MACRO_CONCAT(amc_statusor_, __LINE__), lhs, expr)

#define AMC_ASSIGN_OR_RETURN_IMPL(statusor, lhs, expr)     \
  auto statusor = (expr);                                  \
  if (!statusor.ok()) return std::move(statusor).status(); \
  lhs = *std::move(statusor)
