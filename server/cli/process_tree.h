// The processes that `amc run` starts: they die with it, and it stops in order on Ctrl-C or when
// one of them ends before its time.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "server/cli/line_pipe.h"

namespace amc {

struct ChildOptions {
  std::string name;                      // "server", "worker 1": what messages call it
  std::vector<std::string> arguments;    // with the program's path first
  std::vector<std::string> environment;  // "NAME=VALUE"
  std::string log_path;                  // stdout and stderr are appended to it
  std::string news_option = "";          // if any, gets the number of a pipe for lines of news
};

// Start, Stop and destruction from the thread that made it; the rest is thread-safe.
class ProcessTree {
 public:
  // Blocks StopSignals() in this thread and those it starts, and waits for them in a thread of its
  // own. Make it before any other thread.
  ProcessTree();
  // Kills what still runs.
  ~ProcessTree();

  // Starts a process that gets SIGKILL when this thread ends.
  absl::Status Start(const ChildOptions& options);

  // OK; Cancelled once a signal came; Internal, with the end of its log, once a child has ended by
  // itself.
  absl::Status status() const;

  // What children have written to their pipes since the last call: "worker 1: LINE".
  std::vector<std::string> TakeNews();

  // `stop` is called once, from another thread, as soon as status() is not OK (at once if it is so
  // already); null forgets it, after which it is not running. It must not call this object.
  void OnStop(std::function<void()> stop);

  // Ends all children: first those started after the first one, then the first, the server they
  // talk to. SIGTERM, again after `patience`, SIGKILL two seconds later; a further signal from the
  // user kills at once. Returns when all have ended.
  void Stop(absl::Duration patience);

 private:
  struct Child {
    ChildOptions options;
    int pid = 0;
    std::unique_ptr<LinePipe> news;  // null without a news_option
  };
  void Watch();
  void StopTogether(std::vector<Child> children, absl::Duration patience);

  mutable Mutex mutex_;
  std::vector<Child> children_ ABSL_GUARDED_BY(mutex_);
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  std::function<void()> stop_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;  // children may end
  bool impatient_ ABSL_GUARDED_BY(mutex_) = false;
  bool done_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread watcher_;
};

// The last `lines` lines of a file, or nothing.
std::string LogTail(const std::string& path, int lines);

}  // namespace amc
