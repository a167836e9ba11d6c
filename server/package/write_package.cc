#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/npy.h"
#include "base/status_macros.h"
#include "env/exec/network.h"
#include "env/graph/onnx_import.h"
#include "env/test_images.h"
#include "server/package/contents.h"
#include "server/package/digests.h"
#include "server/package/layer_entry.h"
#include "server/package/package.h"

namespace amc {
namespace {

constexpr int64_t kImages = 2;  // of the self-test

// A folder beside `path` that takes its place, or goes.
class NewFolder {
 public:
  static absl::StatusOr<std::unique_ptr<NewFolder>> Create(const std::string& path) {
    std::error_code error;
    if (std::filesystem::exists(std::filesystem::symlink_status(path, error))) {
      return absl::AlreadyExistsError(absl::StrCat(path, " is there already"));
    }
    auto folder =
        std::unique_ptr<NewFolder>(new NewFolder(path, absl::StrCat(path, ".new-", getpid())));
    std::filesystem::remove_all(folder->aside_, error);
    AMC_RETURN_IF_ERROR(MakeDirectories(folder->aside_));
    return folder;
  }
  ~NewFolder() {
    std::error_code error;
    if (!aside_.empty()) std::filesystem::remove_all(aside_, error);
  }
  NewFolder(const NewFolder&) = delete;
  NewFolder& operator=(const NewFolder&) = delete;

  absl::Status Write(const std::string& name, absl::string_view bytes) {
    const std::string file = absl::StrCat(aside_, "/", name);
    AMC_RETURN_IF_ERROR(MakeDirectories(std::filesystem::path(file).parent_path().string()));
    return WriteFileAtomically(file, bytes);
  }

  absl::Status Commit() {
    AMC_RETURN_IF_ERROR(SyncFolder(aside_));
    if (std::rename(aside_.c_str(), path_.c_str()) != 0) {
      return ErrnoToStatus(errno, "rename", path_);
    }
    aside_.clear();
    const std::string parent = std::filesystem::absolute(path_).parent_path().string();
    return SyncFolder(parent);
  }

 private:
  NewFolder(std::string path, std::string aside)
      : path_(std::move(path)), aside_(std::move(aside)) {}

  const std::string path_;
  std::string aside_;  // empty once it is `path_`
};

class PackageWriter {
 public:
  PackageWriter(const PackageOptions& options, NewFolder* folder)
      : options_(options), folder_(folder) {}

  absl::StatusOr<v1::PackageManifest> Write(absl::string_view onnx,
                                            const std::vector<const Backend*>& backends,
                                            const PackageProgress& progress) {
    AMC_ASSIGN_OR_RETURN(graph_, ImportOnnx(onnx));
    AMC_ASSIGN_OR_RETURN(const std::vector<LayerWeights> layers, ListLayerWeights(graph_));
    Describe();
    AMC_RETURN_IF_ERROR(Add(kModelFile, onnx));
    AMC_ASSIGN_OR_RETURN(const std::string weights, WriteWeights(graph_, layers));
    AMC_RETURN_IF_ERROR(Add(kWeightsFile, weights));
    AMC_RETURN_IF_ERROR(AddSelfTest());
    AMC_ASSIGN_OR_RETURN(
        const std::vector<LayerInput> inputs,
        FirstImageInputs(graph_, layers, images_.values, images_.count(), options_.exec));
    for (size_t i = 0; i < layers.size(); ++i) {
      progress(static_cast<int64_t>(i), static_cast<int64_t>(layers.size()));
      v1::PackageLayer& described = *manifest_.add_layers();
      described = DescribeLayer(graph_, layers[i]);
      for (const Backend* backend : backends) {
        AMC_ASSIGN_OR_RETURN(LayerEntry entry, MakeLayerEntry(*backend, layers[i], i, inputs[i]));
        if (entry.described.eligible()) {
          AMC_RETURN_IF_ERROR(Add(entry.described.file(), entry.file));
        }
        *described.add_backends() = std::move(entry.described);
      }
    }
    progress(static_cast<int64_t>(layers.size()), static_cast<int64_t>(layers.size()));
    AMC_RETURN_IF_ERROR(Finish());
    return std::move(manifest_);
  }

 private:
  void Describe() {
    manifest_.set_schema_version(kPackageSchema);
    manifest_.set_producer(absl::StrCat("amc ", AMC_VERSION));
    manifest_.set_job(options_.job);
    manifest_.set_original(options_.original);
    for (const auto& [group, kept] : options_.keep) (*manifest_.mutable_keep())[group] = kept;
    for (const std::string& format : options_.formats) manifest_.add_formats(format);
  }

  absl::Status Add(const std::string& name, absl::string_view bytes) {
    *manifest_.add_files() = DigestFile(name, bytes);
    return folder_->Write(name, bytes);
  }

  absl::Status AddSelfTest() {
    AMC_ASSIGN_OR_RETURN(images_, MakeTestImages(graph_, options_.pack, kImages));
    ExecOptions exec = options_.exec;
    exec.precision = Precision::kFloat32;
    AMC_ASSIGN_OR_RETURN(const std::unique_ptr<Network> network, Network::Create(graph_, exec));
    AMC_ASSIGN_OR_RETURN(std::vector<float> outputs, network->Run(images_.values, images_.count()));
    if (!std::all_of(outputs.begin(), outputs.end(), [](float x) { return std::isfinite(x); })) {
      return absl::InvalidArgumentError("the network's outputs are not finite");
    }
    const auto classes = static_cast<int64_t>(outputs.size()) / images_.count();
    AMC_RETURN_IF_ERROR(Add(kInputFile, SerializeNpy({images_.shape, images_.values})));
    AMC_RETURN_IF_ERROR(
        Add(kExpectedFile, SerializeNpy({{images_.count(), classes}, std::move(outputs)})));
    *manifest_.mutable_self_test() = DescribeSelfTest();
    return absl::OkStatus();
  }

  absl::Status Finish() {
    const std::string manifest = WriteManifest(manifest_);
    std::map<std::string, std::string> sums;
    for (const v1::PackageFile& file : manifest_.files()) sums[file.path()] = file.sha256();
    sums[kManifestFile] = DigestFile(kManifestFile, manifest).sha256();
    AMC_RETURN_IF_ERROR(folder_->Write(kManifestFile, manifest));
    AMC_RETURN_IF_ERROR(folder_->Write(kSumsFile, WriteSums(sums)));
    return folder_->Commit();
  }

  const PackageOptions& options_;
  NewFolder* const folder_;
  Graph graph_;
  TestImages images_;
  v1::PackageManifest manifest_;
};

}  // namespace

absl::StatusOr<v1::PackageManifest> WritePackage(absl::string_view onnx, const std::string& path,
                                                 const PackageOptions& options,
                                                 const PackageProgress& progress) {
  AMC_ASSIGN_OR_RETURN(const std::vector<const Backend*> backends, FindFormats(options.formats));
  const absl::string_view trimmed = absl::StripSuffix(path, "/");
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<NewFolder> folder,
                       NewFolder::Create(std::string(trimmed)));
  return PackageWriter(options, folder.get()).Write(onnx, backends, progress);
}

}  // namespace amc
