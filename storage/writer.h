// The one writer of a database: changes run in order on one thread and share their syncs.
//
// A sync to disk costs milliseconds, a change microseconds. So the thread takes all changes that
// wait, runs them in one transaction, each in a savepoint of its own, commits once, and wakes their
// callers: under load, commits per second grow with the number of callers. A change that fails is
// undone alone. Where the shared transaction itself fails (a full disk), each change is tried again
// in its own, so that only those that do not fit fail.
#pragma once

#include <memory>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/types/span.h"
#include "base/mutex.h"
#include "storage/sqlite.h"

namespace amc {

// Thread-safe.
class Writer {
 public:
  // Changes the database and returns what its caller is to be told; not OK undoes it. It may run
  // more than once, and the last run counts: it must set its results anew each time. It must not
  // use the Writer.
  using Change = absl::FunctionRef<absl::Status(sqlite::Database&)>;

  explicit Writer(std::unique_ptr<sqlite::Database> database);
  // Waits for the changes under way. No Run may come any more.
  ~Writer();

  // Blocks until `change` is synced to disk, or has failed and left nothing.
  absl::Status Run(Change change);

 private:
  struct Request {
    Change change;
    absl::Status status{};
    bool done = false;  // this and `ended` under mutex_
    CondVar ended{};
  };

  void Loop();
  void Execute(absl::Span<Request* const> batch);
  absl::Status ExecuteAlone(Request& request);
  absl::Status ExecuteTogether(absl::Span<Request* const> batch);

  const std::unique_ptr<sqlite::Database> database_;  // the thread's
  Mutex mutex_;
  CondVar has_work_;
  std::vector<Request*> queue_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace amc
