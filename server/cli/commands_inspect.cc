// inspect, init: what can be said of a model without a server and without torch.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "env/graph/onnx_import.h"
#include "server/cli/checks.h"
#include "server/cli/commands.h"
#include "server/cli/exit_status.h"
#include "server/cli/job_template.h"
#include "server/cli/json.h"
#include "server/cli/model_info.h"

namespace amc {
namespace {

struct InspectArgs {
  std::string model, policy;
  LatticeOptions lattice;
  bool axes = false, layers = false, json = false;
};

absl::Status Inspect(const InspectArgs& args) {
  AMC_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(args.model));
  const absl::StatusOr<Graph> graph = ImportOnnx(bytes);
  AMC_RETURN_IF_ERROR(Annotate(graph.status(), args.model));
  std::optional<v1::PolicyFile> policy;
  if (!args.policy.empty()) {
    AMC_ASSIGN_OR_RETURN(policy, ReadPolicyFile(args.policy));
  }
  const auto info =
      DescribeModel(args.model, bytes, *graph, args.lattice, policy ? &*policy : nullptr);
  if (!info.ok()) {
    const bool without =
        policy && DescribeModel(args.model, bytes, *graph, args.lattice, nullptr).ok();
    return Annotate(info.status(), without ? args.policy : args.model);
  }
  if (args.json) {
    PrintJson(*info);
  } else {
    std::fputs(ModelInfoText(*info, args.axes, args.layers).c_str(), stdout);
  }
  return absl::OkStatus();
}

Action DefineInspect(CLI::App& app) {
  const auto args = std::make_shared<InspectArgs>();
  app.add_option("MODEL", args->model, "The network, ONNX")->required();
  app.add_flag("--axes", args->axes, "Every tensor axis of every group");
  app.add_flag("--layers", args->layers, "What every layer costs");
  app.add_option("--policy", args->policy, "Say what this policy file costs");
  app.add_option("--min-preserve-ratio", args->lattice.min_preserve_ratio,
                 "For the smallest reachable cost: no group keeps less")
      ->check(Between(0, 1))
      ->capture_default_str();
  app.add_option("--channel-multiple", args->lattice.channel_multiple,
                 "Likewise: kept counts are multiples of it")
      ->check(WholeBetween(1, 1 << 16))
      ->capture_default_str();
  app.add_flag("--json", args->json, "Print a ModelInfo as JSON");
  return [args] { return Inspect(*args); };
}

struct InitArgs {
  std::string model, data = "data.pack", output;
  bool force = false;
};

// `path` as the job file `file` names it: seen from the file's folder.
std::string SeenFrom(const std::string& file, const std::string& path) {
  std::error_code error;
  const auto folder = std::filesystem::absolute(file, error).parent_path();
  return file.empty() ? path : std::filesystem::proximate(path, folder, error).string();
}

absl::Status Init(const InitArgs& args) {
  std::error_code error;
  if (!args.output.empty()) {
    AMC_RETURN_IF_ERROR(CheckOutputFile(args.output));
    if (!args.force && std::filesystem::exists(args.output, error)) {
      return WithHint(absl::AlreadyExistsError(absl::StrCat(args.output, " is there already")),
                      "--force overwrites it.");
    }
  }
  AMC_ASSIGN_OR_RETURN(const Graph graph, LoadOnnx(args.model));
  const absl::StatusOr<std::string> text =
      JobTemplate(SeenFrom(args.output, args.model), SeenFrom(args.output, args.data), graph);
  AMC_RETURN_IF_ERROR(Annotate(text.status(), args.model));
  if (args.output.empty()) {
    std::fputs(text->c_str(), stdout);
    return absl::OkStatus();
  }
  AMC_RETURN_IF_ERROR(WriteFileAtomically(args.output, *text));
  std::puts(absl::StrCat("wrote ", args.output, "; next: amc submit ", args.output).c_str());
  return absl::OkStatus();
}

Action DefineInit(CLI::App& app) {
  const auto args = std::make_shared<InitArgs>();
  app.add_option("MODEL", args->model, "The network, ONNX")->required();
  app.add_option("--data", args->data, "The data pack to name in it")->capture_default_str();
  app.add_option("-o,--output", args->output, "Write here instead of to stdout");
  app.add_flag("--force", args->force, "Overwrite a file that is there");
  return [args] { return Init(*args); };
}

}  // namespace

std::vector<Command> InspectCommands() {
  return {{"inspect", "Show a network's groups, costs and barriers",
           "amc inspect resnet20.onnx --axes", DefineInspect},
          {"init", "Write a commented job file", "amc init resnet20.onnx -o job.json", DefineInit}};
}

}  // namespace amc
