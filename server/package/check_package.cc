#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <set>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/file.h"
#include "base/npy.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "env/backend/backends.h"
#include "env/backend/layer_check.h"
#include "env/exec/network.h"
#include "env/graph/onnx_import.h"
#include "google/protobuf/util/message_differencer.h"
#include "server/package/contents.h"
#include "server/package/digests.h"
#include "server/package/package.h"

namespace amc {
namespace {

namespace fs = std::filesystem;

// Files that every package has, beside the manifest and the sums.
constexpr const char* kNeeded[] = {kModelFile, kWeightsFile, kInputFile, kExpectedFile};

class PackageChecker {
 public:
  PackageChecker(std::string path, const ExecOptions& exec) : path_(std::move(path)), exec_(exec) {}

  v1::PackageCheck Check(const PackageProgress& progress) {
    CheckFiles();
    if (Good()) CheckNetwork(progress);
    check_.set_ok(Good());
    return std::move(check_);
  }

 private:
  bool Good() const { return check_.faults().empty(); }
  void Fault(const std::string& fault) { check_.add_faults(fault); }
  // Whether it is OK; a fault otherwise.
  bool Expect(const absl::Status& status) {
    if (!status.ok()) Fault(std::string(status.message()));
    return status.ok();
  }

  // The bytes of a file of the package, which must not lead out of it.
  absl::StatusOr<std::string> Read(const std::string& name) const {
    AMC_RETURN_IF_ERROR(CheckPackagePath(name));
    const fs::path file = fs::path(path_) / name;
    std::error_code error;
    if (fs::is_symlink(fs::symlink_status(file.parent_path(), error)) ||
        !fs::is_regular_file(fs::symlink_status(file, error))) {
      return absl::NotFoundError(absl::StrCat(name, ": is missing, or no plain file"));
    }
    return ReadFile(file.string());
  }

  // Sizes and digests, the manifest, and that nothing is there that it does not list.
  void CheckFiles() {
    const absl::StatusOr<std::string> sums_text = Read(kSumsFile);
    if (!Expect(sums_text.status())) return;
    check_.set_digest(Sha256Hex(*sums_text));
    const auto sums = ReadSums(*sums_text);
    const absl::StatusOr<std::string> text = Read(kManifestFile);
    if (!Expect(sums.status()) || !Expect(text.status())) return;
    const auto listed = sums->find(kManifestFile);
    const std::string found = Sha256Hex(*text);
    if (listed == sums->end() || listed->second != found) {
      return Fault(absl::StrCat(
          kManifestFile, ": its sha256 is ", found, ", ", kSumsFile,
          listed == sums->end() ? " does not name it" : absl::StrCat(" says ", listed->second)));
    }
    absl::StatusOr<v1::PackageManifest> manifest = ReadManifest(*text);
    if (!Expect(manifest.status())) return;
    manifest_ = *std::move(manifest);

    std::set<std::string> names = {kManifestFile, kSumsFile};
    for (const v1::PackageFile& file : manifest_.files()) {
      if (!names.insert(file.path()).second) {
        Fault(absl::StrCat(kManifestFile, ": lists ", file.path(), " twice"));
      }
      CheckFile(file, *sums);
    }
    for (const char* const needed : kNeeded) {
      if (names.count(needed) == 0) {
        Fault(absl::StrCat(kManifestFile, ": does not list ", needed));
      }
    }
    for (const auto& [name, digest] : *sums) {
      if (names.count(name) == 0) {
        Fault(absl::StrCat(kSumsFile, ": names ", name, ", the manifest does not"));
      }
    }
    CheckNothingElse(names);
    check_.set_files(static_cast<uint32_t>(names.size()));
  }

  void CheckFile(const v1::PackageFile& file, const std::map<std::string, std::string>& sums) {
    const auto sum = sums.find(file.path());
    if (sum == sums.end() || sum->second != file.sha256()) {
      Fault(absl::StrCat(file.path(), ": the manifest and ", kSumsFile,
                         " do not have the same sha256 of it"));
      return;
    }
    const absl::StatusOr<std::string> bytes = Read(file.path());
    if (Expect(bytes.status())) Expect(CheckDigest(file, *bytes));
  }

  void CheckNothingElse(const std::set<std::string>& names) {
    std::error_code error;
    for (fs::recursive_directory_iterator entry(path_, error), end; !error && entry != end;
         entry.increment(error)) {
      if (entry->is_directory(error) && !entry->is_symlink(error)) continue;
      const std::string name = fs::relative(entry->path(), path_, error).generic_string();
      if (names.count(name) == 0) Fault(absl::StrCat(name, ": the manifest does not list it"));
    }
    if (error) Fault(absl::StrCat(path_, ": ", error.message()));
  }

  // That everything says the same as model.onnx.
  void CheckNetwork(const PackageProgress& progress) {
    const auto onnx = Read(kModelFile);
    if (!Expect(onnx.status())) return;
    const absl::StatusOr<Graph> graph = ImportOnnx(*onnx);
    if (!Expect(Annotate(graph.status(), kModelFile))) return;
    const auto layers = ListLayerWeights(*graph);
    if (!Expect(Annotate(layers.status(), kModelFile))) return;
    if (static_cast<size_t>(manifest_.layers_size()) != layers->size()) {
      return Fault(absl::StrCat(kManifestFile, ": lists ", manifest_.layers_size(),
                                " layers, model.onnx has ", layers->size()));
    }
    const auto weights = Read(kWeightsFile);
    if (Expect(weights.status())) Expect(CheckWeights(*weights, *graph, *layers));
    for (size_t i = 0; i < layers->size(); ++i) {
      progress(static_cast<int64_t>(i), static_cast<int64_t>(layers->size()));
      CheckLayer(*graph, (*layers)[i], manifest_.layers(static_cast<int>(i)));
    }
    progress(static_cast<int64_t>(layers->size()), static_cast<int64_t>(layers->size()));
    Expect(RunSelfTest(*graph));
  }

  void CheckLayer(const Graph& graph, const LayerWeights& layer, v1::PackageLayer listed) {
    const google::protobuf::RepeatedPtrField<v1::LayerBackend> backends = listed.backends();
    listed.clear_backends();
    const v1::PackageLayer wanted = DescribeLayer(graph, layer);
    google::protobuf::util::MessageDifferencer differencer;
    std::string difference;
    differencer.ReportDifferencesToString(&difference);
    if (!differencer.Compare(wanted, listed)) {
      Fault(absl::StrCat(kManifestFile, ": layer ", wanted.weight(), ": ",
                         difference.substr(0, difference.find('\n'))));
    }
    for (const v1::LayerBackend& entry : backends) {
      if (!entry.eligible()) continue;
      const absl::StatusOr<const Backend*> backend = FindBackend(entry.name());
      if (!Expect(Annotate(backend.status(), kManifestFile))) continue;
      const absl::StatusOr<std::string> file = Read(entry.file());
      if (!Expect(Annotate(file.status(), kManifestFile))) continue;
      if (Expect(Annotate(CheckLayerFile(**backend, layer, *file).status(), entry.file()))) {
        check_.set_layer_files(check_.layer_files() + 1);
      }
    }
  }

  absl::Status RunSelfTest(const Graph& graph) const {
    AMC_ASSIGN_OR_RETURN(const std::string input_bytes, Read(kInputFile));
    AMC_ASSIGN_OR_RETURN(const std::string expected_bytes, Read(kExpectedFile));
    const absl::StatusOr<NpyArray> input = ParseNpy(input_bytes);
    AMC_RETURN_IF_ERROR(Annotate(input.status(), kInputFile));
    const absl::StatusOr<NpyArray> expected = ParseNpy(expected_bytes);
    AMC_RETURN_IF_ERROR(Annotate(expected.status(), kExpectedFile));
    if (input->shape.empty() || input->shape[0] < 1) {
      return absl::DataLossError(absl::StrCat(kInputFile, ": has no images"));
    }
    ExecOptions exec = exec_;
    exec.precision = Precision::kFloat32;
    AMC_ASSIGN_OR_RETURN(const std::unique_ptr<Network> network, Network::Create(graph, exec));
    const absl::StatusOr<std::vector<float>> found = network->Run(input->values, input->shape[0]);
    AMC_RETURN_IF_ERROR(Annotate(found.status(), kInputFile));
    if (found->size() != expected->values.size()) {
      return absl::DataLossError(absl::StrCat(kExpectedFile, ": has ", expected->values.size(),
                                              " values, the network gives ", found->size()));
    }
    double largest = 0;
    for (const float value : expected->values)
      largest = std::max<double>(largest, std::fabs(value));
    for (size_t i = 0; i < found->size(); ++i) {
      const double wanted = expected->values[i], value = (*found)[i];
      if (std::fabs(wanted - value) <= kSelfTestTolerance * largest) continue;
      return absl::DataLossError(absl::StrFormat("%s: value %d is %g, the network gives %g",
                                                 kExpectedFile, i, wanted, value));
    }
    return absl::OkStatus();
  }

  const std::string path_;
  const ExecOptions exec_;
  v1::PackageManifest manifest_;
  v1::PackageCheck check_;
};

}  // namespace

absl::StatusOr<v1::PackageCheck> CheckPackage(const std::string& path, const ExecOptions& exec,
                                              const PackageProgress& progress) {
  std::error_code error;
  if (!fs::is_directory(path, error)) {
    return absl::NotFoundError(absl::StrCat(path, " is no folder"));
  }
  return PackageChecker(path, exec).Check(progress);
}

}  // namespace amc
