// `amc lut build --server`: has a server's workers measure the table.
#pragma once

#include "absl/status/status.h"
#include "server/cli/compute_commands.h"

namespace amc {

// Uploads the model, submits the job and follows it to its end; writes the table to args.output, if
// that is given. Ctrl-C leaves the job to the server.
absl::Status BuildLutOnServer(const LutBuildArgs& args);

}  // namespace amc
