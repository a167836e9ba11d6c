// A package: a folder with all that runtimes need of a network, checked before it is handed out.
//
//   manifest.json         v1.PackageManifest: what everything is
//   model.onnx            the network, zeros stored: the file that the others are derived from
//   weights.safetensors   of every layer the weights as model.onnx stores them, and NAME.mask
//   FORMAT/NNN-NAME.EXT   what each runtime reads of the layers that it can run (env/backend)
//   io/input.npy          a self-test: images, and
//   io/expected.npy       what the network gives for them
//   SHA256SUMS            of all of these
//
// docs/formats.md has every byte.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "amc/v1/package.pb.h"
#include "env/exec/data_pack.h"
#include "env/exec/exec_options.h"

namespace amc {

inline constexpr int32_t kPackageSchema = 1;

struct PackageOptions {
  std::vector<std::string> formats;  // backends' names, none twice
  const DataPack* pack = nullptr;    // whose reward images the self-test takes; null: noise
  ExecOptions exec = {};
  // Of the job whose result the network is, for the manifest.
  std::string job = {}, original = {};
  std::map<std::string, int32_t> keep = {};
};

using PackageProgress = std::function<void(int64_t done, int64_t total)>;

// Writes the package of the network in `onnx` to the folder `path`, which must not be there yet:
// aside, synced, renamed. Every file is read back and run first. InvalidArgument for unknown
// formats and bad networks; AlreadyExists; DataLoss if a file is not what it should be; errors of
// files name them.
absl::StatusOr<v1::PackageManifest> WritePackage(absl::string_view onnx, const std::string& path,
                                                 const PackageOptions& options,
                                                 const PackageProgress& progress);

// Checks everything that can be checked: digests, and that manifest, weights and layers' files are
// what WritePackage would make of model.onnx, the self-test; that nothing else is there, no
// symbolic link either (`path` itself may be one). What is wrong stands in the result, each fault
// with its file and place. NotFound if `path` is no folder.
absl::StatusOr<v1::PackageCheck> CheckPackage(const std::string& path, const ExecOptions& exec,
                                              const PackageProgress& progress);

}  // namespace amc
