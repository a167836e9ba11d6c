#include "base/interrupt.h"

#include <utility>

#include "base/log.h"

namespace amc {
namespace {

thread_local const InterruptScope* innermost = nullptr;

}  // namespace

InterruptScope::InterruptScope(std::function<bool()> wanted)
    : wanted_(std::move(wanted)), outer_(innermost) {
  innermost = this;
}

InterruptScope::~InterruptScope() {
  AMC_CHECK(innermost == this) << "interrupt scopes end in another order than they began";
  innermost = outer_;
}

absl::Status CheckInterrupt() {
  for (const InterruptScope* scope = innermost; scope != nullptr; scope = scope->outer_) {
    if (scope->wanted_()) return absl::CancelledError("interrupted");
  }
  return absl::OkStatus();
}

}  // namespace amc
