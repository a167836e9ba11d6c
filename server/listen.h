// Why a server cannot listen on an address, in words: gRPC itself only says that it could not.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace amc {

// OK if nobody listens on `address` and this process may. FailedPrecondition "... is in use", other
// errors with the system's reason. Where a unix socket is left over from a server that is gone, OK.
absl::Status CheckAddressFree(const std::string& address);

}  // namespace amc
