#include "server/worker/cancel_watcher.h"

#include "absl/time/time.h"

namespace amc {
namespace {

constexpr absl::Duration kLook = absl::Milliseconds(100);

}  // namespace

CancelWatcher::CancelWatcher(grpc::ClientContext& context, const std::function<bool()>& cancelled)
    : context_(context), cancelled_(cancelled), thread_([this] { Watch(); }) {}

CancelWatcher::~CancelWatcher() {
  {
    MutexLock lock(&mutex_);
    done_ = true;
    changed_.Signal();
  }
  thread_.join();
}

void CancelWatcher::Watch() {
  while (!cancelled_()) {
    MutexLock lock(&mutex_);
    if (!done_) changed_.WaitFor(&mutex_, kLook);
    if (done_) return;
  }
  context_.TryCancel();
}

}  // namespace amc
