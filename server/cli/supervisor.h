// What the supervisor of a worker process makes of its end, and when it starts the next one. Pure
// functions; supervised_worker.h starts and watches the processes.
//
// Torch, a BLAS or a driver may take a process down with a candidate that others measure well, or
// that nobody can. The supervisor outlives it, tells the server, which counts crashes per candidate
// (WorkerService.ReportCrash), and starts the next process. A process that somebody killed says
// nothing of its candidate, unless that was the kernel, short of memory.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/time/time.h"

namespace amc {

enum class EndKind {
  kDone,     // it drained
  kRefused,  // it said why and chose an exit code of exit_status.h: the next one would do the same
  kCrashed,  // by a fault of its own, or for want of memory
  kKilled,   // from outside
};

struct Ending {
  EndKind kind = EndKind::kDone;
  int exit_code = 0;
  std::string message;  // "killed by signal 11 (Segmentation fault)", "ended with exit code 7"
};

// Of a status of waitpid. `out_of_memory`: the kernel killed for want of memory while it lived.
Ending ClassifyEnding(int wait_status, bool out_of_memory);

// How often the kernel has killed for want of memory: in this process's cgroup, and on the machine.
// Unset where it does not say.
struct OomKills {
  std::optional<int64_t> group, machine;
};
// The value in the line "NAME VALUE" of a file such as /proc/vmstat or memory.events.
std::optional<int64_t> CounterIn(const std::string& text, const std::string& name);
// Whether one came between the two readings. The group's count is the better witness.
bool KilledForMemory(const OomKills& before, const OomKills& after);

// The readings of a child's last moments. Of all that the kernel kills in days only what it killed
// just now may have been the child. Thread-compatible.
class OomWitness {
 public:
  static constexpr absl::Duration kMemory = absl::Seconds(1);

  // A reading, to be taken about every second while the child lives.
  void Look(absl::Time now, const OomKills& kills);
  // Whether the kernel has killed since at least kMemory before the last look, at most twice that:
  // a large process may still be seen alive after it was counted. `last` is read after its end.
  bool Saw(const OomKills& last) const { return KilledForMemory(older_.kills, last); }

 private:
  struct Reading {
    absl::Time at = absl::InfinitePast();
    OomKills kills;
  };
  Reading older_, newer_;
};

// When to start the next process. Thread-compatible.
class RestartPolicy {
 public:
  static constexpr absl::Duration kFirst = absl::Seconds(1);
  static constexpr absl::Duration kLongest = absl::Seconds(30);
  static constexpr absl::Duration kGoodLife = absl::Minutes(1);  // after which it begins anew
  static constexpr int kFalseStarts = 5;

  // How long to wait after a process that crashed or was killed: a second, twice as long each time,
  // half a minute at most. None once kFalseStarts in a row have crashed before any of them
  // `registered` with the server: then it is this machine's fault, and more of them will not help.
  std::optional<absl::Duration> Next(EndKind kind, absl::Duration life, bool registered);

 private:
  absl::Duration next_ = kFirst;
  int false_starts_ = 0;
};

}  // namespace amc
