// A line that says how far a command is: rewritten in place on a terminal, a plain line now and
// then elsewhere. Always on stderr, so that output stays clean.
#pragma once

#include <string>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace amc {

// Thread-compatible.
class ProgressLine {
 public:
  ProgressLine();
  // A line still shown stays.
  ~ProgressLine() { Finish(); }
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  // Shows `text` now if it is `important`, otherwise when it is time: on a terminal ten times a
  // second, elsewhere every ten seconds, so that short commands say nothing.
  void Show(const std::string& text, bool important = false);
  // A line that stays.
  void Say(const std::string& text);
  // Ends the line shown, leaving its last state.
  void Finish();

 private:
  void Write(const std::string& text);
  const bool terminal_;
  std::string pending_;  // latest text, when the terminal does not show it yet
  bool open_ = false;
  absl::Time last_;
};

// How long the rest will take, from the speed since the first report: what came before it (loading,
// what an earlier run did) says nothing of the rest. Thread-compatible.
class EtaMeter {
 public:
  // A report of how much is done.
  void Add(double done, absl::Time now = absl::Now());
  // How fast it has gone since the first report; 0 until more is done than was then.
  double PerSecond(absl::Time now = absl::Now()) const;
  // Adds, and says "ETA 1 min 20 s", or "ETA ?" while the speed is not known.
  std::string Eta(double done, double total, absl::Time now = absl::Now());

 private:
  absl::Time start_ = absl::InfiniteFuture();
  double done_at_start_ = 0, done_ = 0;
};

}  // namespace amc
