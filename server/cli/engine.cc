#include "server/cli/engine.h"

#include <fcntl.h>
#include <sched.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <system_error>
#include <thread>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_macros.h"

namespace amc {
namespace {

absl::Status ExecEngine(int threads, int argc, char** argv) {
  AMC_ASSIGN_OR_RETURN(const std::string engine, FindEngine());
  std::vector<std::string> environment =
      EngineEnvironment(threads > 0 ? threads : AvailableCores());
  std::vector<char*> envp;
  envp.reserve(environment.size() + 1);
  for (std::string& variable : environment) envp.push_back(variable.data());
  envp.push_back(nullptr);
  std::vector<char*> arguments(argv, argv + argc);
  arguments.push_back(nullptr);
  ::execve(engine.c_str(), arguments.data(), envp.data());
  return ErrnoToStatus(errno, "cannot execute", engine);
}

}  // namespace

absl::StatusOr<std::string> FindProgram(const std::string& name) {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return absl::InternalError(absl::StrCat("/proc/self/exe: ", error.message()));
  const std::string program = (self.parent_path() / name).string();
  if (::access(program.c_str(), X_OK) != 0) return ErrnoToStatus(errno, "cannot execute", program);
  return program;
}

absl::StatusOr<std::string> FindEngine() { return FindProgram("amc-engine"); }

absl::Status CheckEngineDevice(const std::string& device) {
  if (device == "cpu") return absl::OkStatus();
  AMC_ASSIGN_OR_RETURN(const std::string engine, FindEngine());
  TempDirectory folder = *TempDirectory::Create("amc-device");
  const std::string said = folder.path() + "/said";
  std::vector<std::string> environment = EngineEnvironment(1);
  std::vector<char*> envp, arguments;
  for (std::string& variable : environment) envp.push_back(variable.data());
  std::vector<std::string> words = {engine, "check-device", device};
  for (std::string& word : words) arguments.push_back(word.data());
  envp.push_back(nullptr);
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, said.c_str(), O_WRONLY | O_CREAT,
                                     0600);
  ::posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
  pid_t pid = 0;
  const int error =
      ::posix_spawn(&pid, engine.c_str(), &actions, nullptr, arguments.data(), envp.data());
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return ErrnoToStatus(error, "cannot execute", engine);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return absl::OkStatus();
  const absl::StatusOr<std::string> text = ReadFile(said);
  // "amc check-device: why"
  const std::string why =
      text.ok() ? text->substr(std::min(text->size(), text->find(": ") + 2)) : "";
  return absl::FailedPreconditionError(
      why.empty() ? absl::StrCat("device ", device, ": ", engine, " cannot compute on it")
                  : std::string(absl::StripAsciiWhitespace(why)));
}

int AvailableCores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

std::vector<std::string> EngineEnvironment(int threads) {
  const std::string count = absl::StrCat(threads);
  const std::array<std::pair<std::string, std::string>, 5> settings = {{
      {"OMP_NUM_THREADS", count},
      {"OPENBLAS_NUM_THREADS", count},
      {"OMP_WAIT_POLICY", "passive"},
      {"GOMP_SPINCOUNT", "0"},
      {"MALLOC_ARENA_MAX", "1"},
  }};
  std::vector<std::string> environment;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const bool replaced = std::any_of(settings.begin(), settings.end(), [&](const auto& setting) {
      return absl::StartsWith(*variable, setting.first + "=");
    });
    if (!replaced && !absl::StartsWith(*variable, "OPENBLAS_CORETYPE=")) {
      environment.emplace_back(*variable);
    }
  }
  for (const auto& [name, value] : settings) {
    environment.push_back(absl::StrCat(name, "=", value));
  }
  return environment;
}

ComputeHandlers ExecHandlers(int argc, char** argv) {
  const auto exec = [argc, argv](int threads) { return ExecEngine(threads, argc, argv); };
  return {
      .prune = [=](const PruneArgs& args) { return exec(args.exec.threads); },
      .package = [=](const PackageArgs& args) { return exec(args.exec.threads); },
      .verify = [=](const VerifyArgs& args) { return exec(args.exec.threads); },
      .infer = [=](const InferArgs& args) { return exec(args.exec.threads); },
      .eval = [=](const EvalArgs& args) { return exec(args.exec.threads); },
      .train = [=](const TrainArgs& args) { return exec(args.threads); },
      .finetune = [=](const TrainArgs& args) { return exec(args.threads); },
      .data_pack = [=](const DataPackArgs&) { return exec(1); },
      .lut_build = [=](const LutBuildArgs& args) { return exec(static_cast<int>(args.threads)); },
      .lut_simulate = [=](const LutSimulateArgs& args) { return exec(args.exec.threads); },
      .serve = [=](const ServeArgs&) { return exec(1); },
      .worker = [=](const WorkerArgs& args) { return exec(args.threads); },
  };
}

}  // namespace amc
