// Runtimes in helper processes (helpers/): ONNX Runtime in node, whose package has no C headers,
// and OpenCV's dnn module, which shall not be linked into what computes.
//
// Requests, one per line, with their answers (helper_process.h):
//   version                     ok VERSION
//   load THREADS SHAPE PATH     ok ID            SHAPE is the input's, "1x3x32x32"
//   time ID RUNS                ok US US ...     microseconds of each run
//   unload ID                   ok
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "env/measure/runtime.h"

namespace amc {

absl::StatusOr<std::unique_ptr<Runtime>> CreateOnnxRuntime(const RuntimeOptions& options);
absl::StatusOr<std::unique_ptr<Runtime>> CreateOpenCvRuntime(const RuntimeOptions& options);

// The runtime `name` in the process that `command` starts. FailedPrecondition with `hint` if that
// is not there or has no version.
absl::StatusOr<std::unique_ptr<Runtime>> CreateHelperRuntime(
    absl::string_view name, const std::vector<std::string>& command, absl::string_view hint,
    const RuntimeOptions& options);

}  // namespace amc
