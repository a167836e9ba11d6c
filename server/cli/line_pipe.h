// A pipe on which a child process says something to its parent now and then, a line at a time.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace amc {

// Thread-compatible.
class LinePipe {
 public:
  // Both ends are closed in programs that this process executes, unless Spawn is told otherwise.
  static absl::StatusOr<std::unique_ptr<LinePipe>> Open();
  ~LinePipe();
  LinePipe(const LinePipe&) = delete;
  LinePipe& operator=(const LinePipe&) = delete;

  int writing_end() const { return fds_[1]; }
  // To be called once the child has it.
  void CloseWritingEnd();
  // The whole lines that have come since the last call. Does not wait.
  std::vector<std::string> Read();

 private:
  LinePipe() = default;
  std::array<int, 2> fds_ = {-1, -1};
  std::string rest_;  // of a line that is not whole yet
};

}  // namespace amc
