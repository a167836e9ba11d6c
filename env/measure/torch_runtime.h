// libtorch in this process, as workers run networks: batch norm folded, channels_last.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "env/measure/runtime.h"

namespace amc {

absl::StatusOr<std::unique_ptr<Runtime>> CreateTorchRuntime(const RuntimeOptions& options);

}  // namespace amc
