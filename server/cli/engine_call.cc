#include "server/cli/engine_call.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "server/cli/child_process.h"
#include "server/cli/engine.h"

namespace amc {
namespace {

constexpr absl::Duration kPoll = absl::Milliseconds(50);

absl::StatusOr<int> OpenForOutput(const std::string& path) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return ErrnoToStatus(errno, "cannot write", path);
  return fd;
}

// The exit status, as waitpid has it.
absl::StatusOr<int> Wait(pid_t pid, const std::function<absl::Status()>& going) {
  while (true) {
    int status = 0;
    const pid_t ended = ::waitpid(pid, &status, WNOHANG);
    if (ended == pid) return status;
    if (ended < 0 && errno != EINTR) return ErrnoToStatus(errno, "cannot wait for", "amc-engine");
    const absl::Status goes_on = going();
    if (!goes_on.ok()) {
      ::kill(pid, SIGKILL);
      ::waitpid(pid, nullptr, 0);
      return goes_on;
    }
    absl::SleepFor(kPoll);
  }
}

}  // namespace

absl::StatusOr<std::string> CallEngine(const std::vector<std::string>& arguments, int threads,
                                       const std::function<absl::Status()>& going) {
  AMC_ASSIGN_OR_RETURN(const TempDirectory folder, TempDirectory::Create("amc-call"));
  const std::string said = folder.path() + "/stdout", complained = folder.path() + "/stderr";
  SpawnOptions spawn;
  AMC_ASSIGN_OR_RETURN(spawn.output, OpenForOutput(said));
  const absl::Cleanup close_output = [fd = spawn.output] { ::close(fd); };
  AMC_ASSIGN_OR_RETURN(spawn.errors, OpenForOutput(complained));
  const absl::Cleanup close_errors = [fd = spawn.errors] { ::close(fd); };
  AMC_ASSIGN_OR_RETURN(std::string engine, FindEngine());
  spawn.arguments.push_back(std::move(engine));
  spawn.arguments.insert(spawn.arguments.end(), arguments.begin(), arguments.end());
  spawn.environment = EngineEnvironment(threads);
  AMC_ASSIGN_OR_RETURN(const pid_t pid, Spawn(spawn));
  AMC_ASSIGN_OR_RETURN(const int status, Wait(pid, going));
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return ReadFile(said);
  const absl::StatusOr<std::string> words = ReadFile(complained);
  return absl::FailedPreconditionError(
      words.ok() && !words->empty()
          ? std::string(absl::StripAsciiWhitespace(*words))
          : absl::StrCat("amc-engine ", arguments.at(0), " has failed with status ", status));
}

}  // namespace amc
