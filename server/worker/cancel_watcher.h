// Ends a transfer whose task is no longer wanted, however quiet the server is.
#pragma once

#include <functional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "base/mutex.h"
#include "grpcpp/client_context.h"

namespace amc {

// While it lives, asks `cancelled` a few times a second, from a thread of its own, and cancels the
// call once that says so. Both must outlive it. A local variable beside the context.
class CancelWatcher {
 public:
  CancelWatcher(grpc::ClientContext& context, const std::function<bool()>& cancelled);
  ~CancelWatcher();
  CancelWatcher(const CancelWatcher&) = delete;
  CancelWatcher& operator=(const CancelWatcher&) = delete;

 private:
  void Watch();

  grpc::ClientContext& context_;
  const std::function<bool()>& cancelled_;
  Mutex mutex_;
  CondVar changed_;
  bool done_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace amc
