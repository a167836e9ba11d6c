// The sparse runtimes by name.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "env/backend/backend.h"

namespace amc {

// In the order in which messages and manifests list them.
std::vector<std::string> BackendNames();

// The backend of that name, which lives for ever; InvalidArgument lists the names there are.
absl::StatusOr<const Backend*> FindBackend(absl::string_view name);

}  // namespace amc
