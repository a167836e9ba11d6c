#include <algorithm>
#include <cmath>
#include <filesystem>
#include <iterator>
#include <map>
#include <memory>
#include <set>
#include <system_error>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/file.h"
#include "base/npy.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "base/utf8.h"
#include "env/exec/network.h"
#include "env/graph/onnx_import.h"
#include "google/protobuf/util/message_differencer.h"
#include "server/package/contents.h"
#include "server/package/digests.h"
#include "server/package/layer_entry.h"
#include "server/package/package.h"

namespace amc {
namespace {

namespace fs = std::filesystem;

// Files that every package has, beside the manifest and the sums.
constexpr const char* kNeeded[] = {kModelFile, kWeightsFile, kInputFile, kExpectedFile};

std::string Excess(absl::string_view name) {
  return absl::StrCat(absl::CHexEscape(std::string(name)), ": the manifest does not list it");
}

// "a/b/c" is in "a/b" and "a".
std::set<std::string> FoldersOf(const std::set<std::string>& names) {
  std::set<std::string> folders;
  for (const std::string& name : names) {
    for (size_t end = name.find('/'); end != std::string::npos; end = name.find('/', end + 1)) {
      folders.insert(name.substr(0, end));
    }
  }
  return folders;
}

// OK if the file is what the network gives; else the first byte that is not.
absl::Status CheckBytes(const std::string& name, absl::string_view found,
                        absl::string_view wanted) {
  if (found == wanted) return absl::OkStatus();
  const auto place = std::mismatch(found.begin(), found.end(), wanted.begin(), wanted.end());
  return absl::DataLossError(absl::StrCat(name, ": byte ", place.first - found.begin(),
                                          " is not what ", kModelFile, " gives"));
}

class PackageChecker {
 public:
  // `path` is canonical.
  PackageChecker(std::string path, const ExecOptions& exec) : path_(std::move(path)), exec_(exec) {}

  v1::PackageCheck Check(const PackageProgress& progress) {
    CheckFiles();
    if (Good()) CheckNetwork(progress);
    check_.set_ok(Good());
    return std::move(check_);
  }

 private:
  bool Good() const { return check_.faults().empty(); }
  void Fault(const std::string& fault) { check_.add_faults(ToUtf8(fault)); }
  // Whether it is OK; a fault otherwise.
  bool Expect(const absl::Status& status) {
    if (!status.ok()) Fault(std::string(status.message()));
    return status.ok();
  }

  // The bytes of a file of the package, reached through no symbolic link.
  absl::StatusOr<std::string> Read(const std::string& name) const {
    AMC_RETURN_IF_ERROR(CheckPackagePath(name));
    std::error_code error;
    fs::path file = path_;
    bool plain = true;
    for (const fs::path& part : fs::path(name)) {
      file /= part;
      plain = plain && !fs::is_symlink(fs::symlink_status(file, error));
    }
    if (!plain || !fs::is_regular_file(fs::symlink_status(file, error))) {
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
    const std::set<std::string> folders = FoldersOf(names);
    std::error_code error;
    for (fs::recursive_directory_iterator entry(path_, error), end; !error && entry != end;
         entry.increment(error)) {
      // Not fs::relative, which follows links.
      const std::string name = entry->path().lexically_relative(path_).generic_string();
      std::error_code unreadable;
      const fs::file_status status = entry->symlink_status(unreadable);
      if (fs::is_symlink(status)) {
        Fault(absl::StrCat(absl::CHexEscape(name), ": is a symbolic link"));
      } else if (!fs::is_directory(status)) {
        if (names.count(name) == 0) Fault(Excess(name));
      } else if (folders.count(name) == 0 && fs::is_empty(entry->path(), unreadable)) {
        Fault(Excess(name));
      }
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
    CheckSettings();
    const std::vector<std::string> formats(manifest_.formats().begin(), manifest_.formats().end());
    const auto backends = FindFormats(formats);
    if (!Expect(Annotate(backends.status(), kManifestFile))) return;
    if (static_cast<size_t>(manifest_.layers_size()) != layers->size()) {
      return Fault(absl::StrCat(kManifestFile, ": lists ", manifest_.layers_size(),
                                " layers, model.onnx has ", layers->size()));
    }
    Expect(CheckWeightsFile(*graph, *layers));
    const absl::StatusOr<NpyArray> input = ReadArray(kInputFile);
    if (!Expect(input.status()) || !Expect(CheckImages(*graph, *input))) return;
    Expect(RunSelfTest(*graph, *input));
    const auto inputs = FirstImageInputs(*graph, *layers, input->values, input->shape[0], exec_);
    if (!Expect(Annotate(inputs.status(), kInputFile))) return;
    std::set<std::string> used(std::begin(kNeeded), std::end(kNeeded));
    for (size_t i = 0; i < layers->size(); ++i) {
      progress(static_cast<int64_t>(i), static_cast<int64_t>(layers->size()));
      const v1::PackageLayer& listed = manifest_.layers(static_cast<int>(i));
      const v1::PackageLayer wanted = DescribeLayer(*graph, (*layers)[i]);
      const std::string difference = LayerDifference(wanted, listed);
      if (!difference.empty()) Fault(InLayer(wanted, difference));
      if (listed.backends_size() != manifest_.formats_size()) {
        Fault(InLayer(wanted, absl::StrCat("lists ", listed.backends_size(), " formats, want ",
                                           manifest_.formats_size())));
        continue;
      }
      for (int b = 0; b < listed.backends_size(); ++b) {
        const Backend& backend = *(*backends)[static_cast<size_t>(b)];
        const absl::StatusOr<LayerEntry> entry =
            MakeLayerEntry(backend, (*layers)[i], i, (*inputs)[i]);
        if (!Expect(entry.status())) continue;
        if (entry->described.eligible()) used.insert(entry->described.file());
        CheckEntry(wanted, *entry, listed.backends(b));
      }
    }
    progress(static_cast<int64_t>(layers->size()), static_cast<int64_t>(layers->size()));
    for (const v1::PackageFile& file : manifest_.files()) {
      if (used.count(file.path()) == 0) {
        Fault(absl::StrCat(kManifestFile, ": lists ", file.path(), ", which no layer refers to"));
      }
    }
  }

  static std::string InLayer(const v1::PackageLayer& layer, const std::string& fault) {
    return absl::StrCat(kManifestFile, ": layer ", layer.weight(), ": ", fault);
  }

  // What the manifest says that does not follow from the network.
  void CheckSettings() {
    google::protobuf::util::MessageDifferencer differencer;
    if (!differencer.Compare(DescribeSelfTest(), manifest_.self_test())) {
      Fault(absl::StrCat(kManifestFile, ": self_test is not ", kInputFile, ", ", kExpectedFile,
                         " and a tolerance of ", kSelfTestTolerance));
    }
    for (const auto& [group, kept] : manifest_.keep()) {
      if (kept >= 1) continue;
      Fault(absl::StrCat(kManifestFile, ": keeps ", kept, " channels of ", group));
    }
  }

  absl::Status CheckWeightsFile(const Graph& graph, const std::vector<LayerWeights>& layers) const {
    AMC_ASSIGN_OR_RETURN(const std::string weights, Read(kWeightsFile));
    AMC_RETURN_IF_ERROR(CheckWeights(weights, graph, layers));
    AMC_ASSIGN_OR_RETURN(const std::string wanted, WriteWeights(graph, layers));
    return CheckBytes(kWeightsFile, weights, wanted);
  }

  // That `listed` and its file are what the network gives.
  void CheckEntry(const v1::PackageLayer& layer, const LayerEntry& wanted,
                  const v1::LayerBackend& listed) {
    const std::string difference = BackendDifference(wanted.described, listed);
    if (!difference.empty()) {
      return Fault(InLayer(layer, absl::StrCat(wanted.described.name(), ": ", difference)));
    }
    if (!listed.eligible()) return;
    // MakeLayerEntry has read, compared and run these very bytes if they are the same.
    const absl::StatusOr<std::string> file = Read(listed.file());
    if (Expect(file.status()) && Expect(CheckBytes(listed.file(), *file, wanted.file))) {
      check_.set_layer_files(check_.layer_files() + 1);
    }
  }

  // A file of finite values.
  absl::StatusOr<NpyArray> ReadArray(const std::string& name) const {
    AMC_ASSIGN_OR_RETURN(const std::string bytes, Read(name));
    absl::StatusOr<NpyArray> array = ParseNpy(bytes);
    AMC_RETURN_IF_ERROR(Annotate(array.status(), name));
    for (size_t i = 0; i < array->values.size(); ++i) {
      if (std::isfinite(array->values[i])) continue;
      return absl::DataLossError(
          absl::StrFormat("%s: value %d is %g, which is not finite", name, i, array->values[i]));
    }
    return array;
  }

  // Whether `input` is one or more images of the network's size.
  static absl::Status CheckImages(const Graph& graph, const NpyArray& input) {
    Shape wanted = graph.inputs.empty() ? Shape{} : graph.tensor(graph.inputs[0]).shape;
    if (!wanted.empty() && !input.shape.empty()) wanted[0] = input.shape[0];
    if (!input.values.empty() && input.shape == wanted) return absl::OkStatus();
    return absl::DataLossError(absl::StrCat(kInputFile, ": holds ", ShapeToString(input.shape),
                                            ", which are no images of the network's"));
  }

  absl::Status RunSelfTest(const Graph& graph, const NpyArray& input) const {
    AMC_ASSIGN_OR_RETURN(const NpyArray expected, ReadArray(kExpectedFile));
    ExecOptions exec = exec_;
    exec.precision = Precision::kFloat32;
    AMC_ASSIGN_OR_RETURN(const std::unique_ptr<Network> network, Network::Create(graph, exec));
    const absl::StatusOr<std::vector<float>> found = network->Run(input.values, input.shape[0]);
    AMC_RETURN_IF_ERROR(Annotate(found.status(), kInputFile));
    const auto classes = static_cast<int64_t>(found->size()) / input.shape[0];
    if (expected.shape != Shape{input.shape[0], classes}) {
      return absl::DataLossError(absl::StrCat(kExpectedFile, ": holds ",
                                              ShapeToString(expected.shape), ", the network gives ",
                                              ShapeToString({input.shape[0], classes})));
    }
    double largest = 0;
    for (const float value : expected.values) largest = std::max<double>(largest, std::fabs(value));
    for (size_t i = 0; i < found->size(); ++i) {
      const double wanted = expected.values[i], value = (*found)[i];
      // False for what is not finite; `largest` is.
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
  const fs::path folder = fs::canonical(path, error);
  if (error || !fs::is_directory(folder, error)) {
    return absl::NotFoundError(absl::StrCat(path, " is no folder"));
  }
  return PackageChecker(folder.string(), exec).Check(progress);
}

}  // namespace amc
