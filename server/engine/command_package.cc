// package: what sparse runtimes read of a network. verify: whether such a folder is as it was
// written.
#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "env/backend/backends.h"
#include "server/cli/exit_status.h"
#include "server/cli/format.h"
#include "server/cli/json.h"
#include "server/cli/table.h"
#include "server/engine/commands.h"
#include "server/package/package.h"

namespace amc {
namespace {

// What a runtime takes of the whole network.
struct Share {
  int64_t layers = 0, bytes = 0;
  double simulated_us = 0;
  std::map<std::string, int64_t> refusals = {};  // reason to layers
};

void PrintManifest(const v1::PackageManifest& manifest, const std::string& folder) {
  std::map<std::string, Share> shares;
  int64_t dense_bytes = 0;
  for (const v1::PackageLayer& layer : manifest.layers()) {
    int64_t weights = 1;
    for (const int32_t length : layer.shape()) weights *= length;
    dense_bytes += weights * static_cast<int64_t>(sizeof(float));
    for (const v1::LayerBackend& backend : layer.backends()) {
      Share& share = shares[backend.name()];
      if (backend.eligible()) {
        ++share.layers;
        share.bytes += backend.bytes();
        share.simulated_us += backend.simulated_us();
      } else {
        ++share.refusals[backend.reason()];
      }
    }
  }
  Table table({{"format"},
               {"layers", Align::kRight},
               {"weights", Align::kRight},
               {"simulated", Align::kRight},
               {"first reason against others"}});
  for (const std::string& format : manifest.formats()) {
    const Share& share = shares[format];
    std::string reason;
    int64_t most = 0;
    for (const auto& [text, layers] : share.refusals) {
      if (layers > most) reason = text;
      most = std::max(most, layers);
    }
    table.AddRow({format, absl::StrCat(share.layers, " of ", manifest.layers_size()),
                  share.layers == 0 ? "" : HumanBytes(share.bytes),
                  share.simulated_us > 0 ? absl::StrFormat("%.1f us", share.simulated_us) : "",
                  reason});
  }
  std::fputs(table.ToString().c_str(), stdout);
  std::puts(absl::StrCat(folder, ": ", manifest.files_size() + 2, " files of ",
                         manifest.layers_size(), " layers, ", HumanBytes(dense_bytes),
                         " of weights if dense. `amc verify ", folder, "` checks them.")
                .c_str());
}

}  // namespace

absl::Status RunPackage(const PackageArgs& args) {
  PackageOptions options;
  AMC_ASSIGN_OR_RETURN(options.exec, PrepareExec(args.exec));
  options.formats = args.formats.empty() ? BackendNames() : args.formats;
  for (const std::string& format : options.formats) {
    const absl::Status known = FindBackend(format).status();
    if (!known.ok()) return UsageError(absl::StrCat("--format: ", std::string(known.message())));
  }
  std::unique_ptr<DataPack> pack;
  if (!args.data.empty()) {
    AMC_ASSIGN_OR_RETURN(pack, DataPack::Open(args.data));
    options.pack = pack.get();
  }
  options.job = args.job;
  options.original = args.original;
  if (!args.policy.empty()) {
    AMC_ASSIGN_OR_RETURN(const v1::PolicyFile policy, ReadPolicyFile(args.policy));
    for (const auto& [group, kept] : policy.keep()) {
      options.keep[group] = static_cast<int32_t>(kept);
    }
  }
  AMC_ASSIGN_OR_RETURN(const std::string onnx, ReadFile(args.model));
  ProgressLine line;
  const absl::StatusOr<v1::PackageManifest> manifest =
      WritePackage(onnx, args.output, options, ShowProgress(line, "writing layer"));
  AMC_RETURN_IF_ERROR(Annotate(manifest.status(), args.model));
  line.Finish();
  if (args.json) {
    PrintJson(*manifest);
  } else {
    PrintManifest(*manifest, args.output);
  }
  return absl::OkStatus();
}

absl::Status RunVerify(const VerifyArgs& args) {
  AMC_ASSIGN_OR_RETURN(const ExecOptions exec, PrepareExec(args.exec));
  ProgressLine line;
  AMC_ASSIGN_OR_RETURN(const v1::PackageCheck check,
                       CheckPackage(args.folder, exec, ShowProgress(line, "checking layer")));
  line.Finish();
  if (args.json) PrintJson(check);
  if (!check.ok()) {
    std::string faults;
    for (const std::string& fault : check.faults()) absl::StrAppend(&faults, "\n  ", fault);
    return absl::DataLossError(absl::StrCat(args.folder, " is no good package:", faults));
  }
  if (!args.json) {
    std::puts(absl::StrCat(args.folder, ": ", check.files(), " files as they were written; ",
                           check.layer_files(),
                           " files of layers read, compared with model.onnx and run; self-test "
                           "passed. sha256 of SHA256SUMS: ",
                           check.digest())
                  .c_str());
  }
  return absl::OkStatus();
}

}  // namespace amc
