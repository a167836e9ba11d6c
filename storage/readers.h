// Read-only connections for those who ask, so that readers wait neither for the writer nor, up to
// the pool's size, for one another.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "base/mutex.h"
#include "storage/sqlite.h"

namespace amc {

// Thread-safe.
class Readers {
 public:
  using Reading = absl::FunctionRef<absl::Status(sqlite::Database&)>;

  // At most `most` connections to the database at `path`, opened as they are needed.
  Readers(std::string path, int most) : path_(std::move(path)), free_(most) {}

  // Runs `reading` in a transaction of its own: all its queries see the database at one moment.
  // Blocks while all connections are in use.
  absl::Status Run(Reading reading);

 private:
  // An idle connection, or null where one may be opened.
  std::unique_ptr<sqlite::Database> Take();
  void GiveBack(std::unique_ptr<sqlite::Database> database);

  const std::string path_;
  Mutex mutex_;
  CondVar freed_;
  int free_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::unique_ptr<sqlite::Database>> idle_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace amc
