#include "server/cli/line_pipe.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/file.h"

namespace amc {

absl::StatusOr<std::unique_ptr<LinePipe>> LinePipe::Open() {
  auto pipe = std::unique_ptr<LinePipe>(new LinePipe());
  if (::pipe2(pipe->fds_.data(), O_CLOEXEC) != 0) {
    return ErrnoToStatus(errno, "cannot make", "a pipe");
  }
  ::fcntl(pipe->fds_[0], F_SETFL, O_NONBLOCK);
  return pipe;
}

LinePipe::~LinePipe() {
  CloseWritingEnd();
  if (fds_[0] >= 0) ::close(fds_[0]);
}

void LinePipe::CloseWritingEnd() {
  if (fds_[1] >= 0) ::close(std::exchange(fds_[1], -1));
}

std::vector<std::string> LinePipe::Read() {
  std::array<char, 512> buffer;
  for (ssize_t n = 0; (n = ::read(fds_[0], buffer.data(), buffer.size())) > 0;) {
    rest_.append(buffer.data(), static_cast<size_t>(n));
  }
  std::vector<std::string> lines;
  for (size_t end = 0; (end = rest_.find('\n')) != std::string::npos;) {
    lines.push_back(rest_.substr(0, end));
    rest_.erase(0, end + 1);
  }
  return lines;
}

}  // namespace amc
