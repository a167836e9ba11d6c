#include "env/measure/helper_runtime.h"

#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "env/graph/onnx_export.h"
#include "env/measure/helper_process.h"

namespace amc {
namespace {

class HelperLoaded : public LoadedNetwork {
 public:
  HelperLoaded(HelperProcess* helper, std::string id, std::string name, absl::Duration timeout)
      : helper_(helper), id_(std::move(id)), name_(std::move(name)), timeout_(timeout) {}

  ~HelperLoaded() override {
    // A dead helper has let it go as well.
    (void)helper_->Ask(absl::StrCat("unload ", id_), timeout_);
  }

  absl::StatusOr<std::vector<double>> Time(int64_t runs) override {
    const absl::StatusOr<std::string> answer =
        helper_->Ask(absl::StrCat("time ", id_, " ", runs), timeout_);
    if (!answer.ok()) return Annotate(answer.status(), name_);
    std::vector<double> times;
    for (const absl::string_view word : absl::StrSplit(*answer, ' ', absl::SkipEmpty())) {
      double us = 0;
      if (!absl::SimpleAtod(word, &us) || !std::isfinite(us) || us < 0) {
        return absl::InternalError(absl::StrCat(name_, ": \"", word, "\" is no time"));
      }
      times.push_back(us);
    }
    if (static_cast<int64_t>(times.size()) != runs) {
      return absl::InternalError(
          absl::StrCat(name_, ": ", times.size(), " times of ", runs, " runs"));
    }
    return times;
  }

 private:
  HelperProcess* const helper_;
  const std::string id_;
  const std::string name_;
  const absl::Duration timeout_;
};

class HelperRuntime : public Runtime {
 public:
  HelperRuntime(LatencySetting setting, std::unique_ptr<HelperProcess> helper, TempDirectory folder,
                absl::Duration timeout)
      : Runtime(std::move(setting)),
        helper_(std::move(helper)),
        folder_(std::move(folder)),
        timeout_(timeout) {}

  absl::StatusOr<std::unique_ptr<LoadedNetwork>> Load(const Graph& graph) override {
    AMC_ASSIGN_OR_RETURN(const Shape shape, InputShape(graph, setting().batch));
    Graph fixed = graph;  // with the batch in the file: OpenCV 4.6 takes a dynamic one as 1
    fixed.fixed_batch = setting().batch;
    const std::string path = folder_.path() + "/network.onnx";
    AMC_RETURN_IF_ERROR(SaveOnnx(fixed, path));
    const std::string request =
        absl::StrCat("load ", setting().threads, " ", absl::StrJoin(shape, "x"), " ", path);
    absl::StatusOr<std::string> id = helper_->Ask(request, timeout_);
    std::error_code ignored;
    std::filesystem::remove(path, ignored);
    const std::string name = absl::StrCat(
        setting().runtime, ": ", graph.name.empty() ? "network without a name" : graph.name);
    if (!id.ok()) return Annotate(id.status(), name);
    return std::make_unique<HelperLoaded>(helper_.get(), *std::move(id), name, timeout_);
  }

 private:
  const std::unique_ptr<HelperProcess> helper_;
  const TempDirectory folder_;
  const absl::Duration timeout_;
};

std::filesystem::path ProgramFolder() {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  return error ? std::filesystem::path(".") : self.parent_path();
}

std::string HelperPath(const RuntimeOptions& options, const char* name) {
  const std::filesystem::path folder =
      options.helpers.empty() ? ProgramFolder() : std::filesystem::path(options.helpers);
  return (folder / name).string();
}

std::string OnnxRuntimeFolder(const RuntimeOptions& options) {
  if (!options.onnxruntime.empty()) return options.onnxruntime;
  if (const char* const set = std::getenv("AMC_ONNXRUNTIME_DIR"); set != nullptr && *set != 0) {
    return set;
  }
  // From build/PRESET/bin.
  return (ProgramFolder().parent_path().parent_path() / "consumers").string();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Runtime>> CreateHelperRuntime(
    absl::string_view name, const std::vector<std::string>& command, absl::string_view hint,
    const RuntimeOptions& options) {
  const auto refuse = [&](const absl::Status& status) {
    if (status.code() == absl::StatusCode::kCancelled) return status;
    return absl::FailedPreconditionError(
        absl::StrCat("runtime ", name, " cannot be used: ", status.message(), " (", hint, ")"));
  };
  HelperProcess::Options process;
  process.name = absl::StrCat(name, "'s helper");
  process.command = command;
  // glibc maps large buffers anew for each run until the first one is freed by another way: OpenCV
  // was 14% faster after the first networks had been unloaded than before. As TuneProcess does:
  process.settings = {absl::StrCat("OMP_NUM_THREADS=", options.threads),
                      "OMP_WAIT_POLICY=passive",
                      "UV_THREADPOOL_SIZE=1",
                      "MALLOC_MMAP_MAX_=0",
                      "MALLOC_TRIM_THRESHOLD_=4294967296",
                      "MALLOC_TOP_PAD_=67108864"};
  absl::StatusOr<std::unique_ptr<HelperProcess>> helper = HelperProcess::Start(process);
  if (!helper.ok()) return refuse(helper.status());
  const absl::StatusOr<std::string> version = (*helper)->Ask("version", options.timeout);
  if (!version.ok()) return refuse(version.status());
  AMC_ASSIGN_OR_RETURN(TempDirectory folder, TempDirectory::Create("amc-measure"));
  return std::make_unique<HelperRuntime>(
      LatencySetting{DeviceName(), std::string(name), *version, options.threads, options.batch},
      *std::move(helper), std::move(folder), options.timeout);
}

absl::StatusOr<std::unique_ptr<Runtime>> CreateOnnxRuntime(const RuntimeOptions& options) {
  const std::string folder = OnnxRuntimeFolder(options);
  // Young garbage is collected seldom, and by the thread that computes rather than beside it.
  const std::vector<std::string> command = {
      options.node,        "--single-threaded-gc",
      "--expose-gc",       "--max-semi-space-size=64",
      "--no-deprecation",  HelperPath(options, "onnxruntime.mjs"),
      std::string(folder),
  };
  return CreateHelperRuntime(
      "onnxruntime", command,
      absl::StrCat(
          "install nodejs, and onnxruntime-node with `npm install --ignore-scripts --prefix ",
          folder, " onnxruntime-node`, or set AMC_ONNXRUNTIME_DIR to where it is"),
      options);
}

absl::StatusOr<std::unique_ptr<Runtime>> CreateOpenCvRuntime(const RuntimeOptions& options) {
  return CreateHelperRuntime("opencv", {HelperPath(options, "amc-opencv-helper")},
                             "install libopencv-dnn-dev and build again", options);
}

}  // namespace amc
