#include "env/measure/runtime.h"

#include <sys/utsname.h>

#include <array>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "env/measure/helper_runtime.h"
#include "env/measure/torch_runtime.h"

namespace amc {
namespace {

struct Entry {
  const char* name;
  absl::StatusOr<std::unique_ptr<Runtime>> (*create)(const RuntimeOptions& options);
};

constexpr std::array<Entry, 3> kRuntimes = {{
    {"libtorch", CreateTorchRuntime},
    {"onnxruntime", CreateOnnxRuntime},
    {"opencv", CreateOpenCvRuntime},
}};

}  // namespace

std::vector<std::string> RuntimeNames() {
  std::vector<std::string> names;
  names.reserve(kRuntimes.size());
  for (const Entry& entry : kRuntimes) names.emplace_back(entry.name);
  return names;
}

absl::StatusOr<std::unique_ptr<Runtime>> CreateRuntime(absl::string_view name,
                                                       const RuntimeOptions& options) {
  for (const auto& [what, value] :
       {std::pair{"threads", options.threads}, std::pair{"batch", options.batch}}) {
    if (value < 1 || value > 65536) {
      return absl::InvalidArgumentError(absl::StrCat(what, " is ", value, ", want 1 to 65536"));
    }
  }
  for (const Entry& entry : kRuntimes) {
    if (name == entry.name) return entry.create(options);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("runtime \"", name, "\" is none of ", absl::StrJoin(RuntimeNames(), ", ")));
}

std::string DeviceNameFrom(absl::string_view cpuinfo) {
  // x86 has the first, 32-bit ARM some of the others; 64-bit ARM mostly none.
  for (const absl::string_view key : {"model name", "Hardware", "cpu model", "cpu"}) {
    for (const absl::string_view line : absl::StrSplit(cpuinfo, '\n')) {
      const std::pair<absl::string_view, absl::string_view> parts =
          absl::StrSplit(line, absl::MaxSplits(':', 1));
      const absl::string_view value = absl::StripAsciiWhitespace(parts.second);
      if (absl::StripAsciiWhitespace(parts.first) == key && !value.empty()) {
        std::string name(value);
        absl::RemoveExtraAsciiWhitespace(&name);
        return name;
      }
    }
  }
  return "";
}

std::string DeviceName() {
  // Files under /proc have no size, which ReadFile is prepared for.
  const absl::StatusOr<std::string> cpuinfo = ReadFile("/proc/cpuinfo");
  if (cpuinfo.ok()) {
    if (std::string name = DeviceNameFrom(*cpuinfo); !name.empty()) return name;
  }
  utsname machine{};
  return ::uname(&machine) == 0 ? machine.machine : "unknown";
}

absl::StatusOr<Shape> InputShape(const Graph& graph, int64_t batch) {
  if (graph.inputs.size() != 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "network ", graph.name, " has ", graph.inputs.size(), " inputs, want exactly one"));
  }
  const Tensor& input = graph.tensor(graph.inputs[0]);
  if (!input.shape_known || input.shape.empty() || input.type != DataType::kFloat) {
    return absl::InvalidArgumentError(absl::StrCat("network ", graph.name, ": input ", input.name,
                                                   " is no float32 tensor of known shape"));
  }
  Shape shape = input.shape;
  if (shape[0] != kDynamic && shape[0] != batch) {
    return absl::InvalidArgumentError(absl::StrCat("network ", graph.name, " takes ", shape[0],
                                                   " images at a time, not ", batch));
  }
  shape[0] = batch;
  return shape;
}

}  // namespace amc
