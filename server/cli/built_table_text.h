// What `amc lut build` says of the table that it has made, here or on a server.
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "amc/v1/job.pb.h"

namespace amc {

// Rows, setting, how far the rows and the predictions for `model` (a sha256) can be trusted,
// digest; `name` is what the table is called. Lines.
std::string BuiltTableText(absl::string_view name, const v1::BuiltTable& built, double tolerance,
                           const std::string& model);

}  // namespace amc
