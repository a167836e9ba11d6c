// Packages, whole and damaged.
#include "server/package/package.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "base/file.h"
#include "base/npy.h"
#include "base/rng.h"
#include "base/sha256.h"
#include "env/backend/backends.h"
#include "env/graph/layer_weights.h"
#include "env/graph/onnx_export.h"
#include "env/graph/onnx_import.h"
#include "env/graph/zoo.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/package/contents.h"
#include "server/package/digests.h"

namespace amc {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

namespace fs = std::filesystem;

// A small network, its second layer 2:4 along input channels, its third without some kernels, its
// fourth of patterns, its fifth without some blocks.
Graph SparseNetwork() {
  Graph graph = BuildNetwork("resnet20", {.height = 8, .width = 8, .seed = 3}).value();
  const std::vector<LayerWeights> layers = ListLayerWeights(graph).value();
  LayerWeights two_of_four = layers[1];
  for (size_t i = 0; i < two_of_four.values.size(); ++i) {
    if ((i / 9 % 4 < 2) == (i % 9 % 2 == 0)) two_of_four.values[i] = 0;
  }
  LayerWeights kernels = layers[2];
  for (size_t i = 0; i < kernels.values.size(); ++i) {
    if (i / 9 % 3 == 0) kernels.values[i] = 0;  // up to 3 of 4 stay
  }
  LayerWeights patterns = layers[3];
  for (size_t i = 0; i < patterns.values.size(); ++i) {
    if (i % 9 > 3) patterns.values[i] = 0;
  }
  LayerWeights blocks = layers[4];
  for (size_t i = 0; i < blocks.values.size(); ++i) {
    if ((i / 144 / 4 + i % 144 / 4) % 2 == 0) blocks.values[i] = 0;
  }
  graph = WithWeights(std::move(graph), patterns).value();
  graph = WithWeights(std::move(graph), blocks).value();
  graph = WithWeights(std::move(graph), two_of_four).value();
  return WithWeights(std::move(graph), kernels).value();
}

class PackageTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const PackageOptions options{.formats = BackendNames(),
                                 .job = "j1",
                                 .original = std::string(64, 'a'),
                                 .keep = {{"conv1", 16}}};
    const auto manifest =
        WritePackage(ExportOnnx(SparseNetwork()).value(), Path(), options, [](int64_t, int64_t) {});
    ASSERT_TRUE(manifest.ok()) << manifest.status();
    manifest_ = *manifest;
  }

  std::string Path() const { return absl::StrCat(folder_.path(), "/p"); }
  std::string Path(const std::string& name) const { return absl::StrCat(Path(), "/", name); }
  v1::PackageCheck Check() const {
    return CheckPackage(Path(), {}, [](int64_t, int64_t) {}).value();
  }
  std::string Faults() const { return absl::StrJoin(Check().faults(), "; "); }

  void Write(const std::string& name, const std::string& bytes) {
    ASSERT_TRUE(WriteFileAtomically(Path(name), bytes).ok());
  }
  std::string Read(const std::string& name) const { return ReadFile(Path(name)).value(); }

  // Stores `bytes`, and makes manifest and sums agree with them: what somebody does who wants it
  // not to be seen.
  void Forge(const std::string& name, const std::string& bytes) {
    Write(name, bytes);
    v1::PackageManifest manifest = ReadManifest(Read(kManifestFile)).value();
    for (v1::PackageFile& file : *manifest.mutable_files()) {
      if (file.path() == name) file = DigestFile(name, bytes);
    }
    ForgeManifest(WriteManifest(manifest));
  }
  void ForgeManifest(const std::string& text) {
    Write(kManifestFile, text);
    std::map<std::string, std::string> sums = ReadSums(Read(kSumsFile)).value();
    sums[kManifestFile] = Sha256Hex(text);
    const absl::StatusOr<v1::PackageManifest> manifest = ReadManifest(text);
    if (manifest.ok()) {
      for (const v1::PackageFile& file : manifest->files()) sums[file.path()] = file.sha256();
    }
    Write(kSumsFile, WriteSums(sums));
  }

  const TempDirectory folder_ = TempDirectory::Create().value();
  v1::PackageManifest manifest_;
};

TEST_F(PackageTest, SaysOfEveryLayerWhatRuntimesCanDoWithIt) {
  ASSERT_EQ(manifest_.layers_size(), 20);
  EXPECT_EQ(manifest_.job(), "j1");
  EXPECT_EQ(manifest_.keep().at("conv1"), 16);
  EXPECT_EQ(manifest_.layers(0).pattern(), "dense");
  EXPECT_EQ(manifest_.layers(1).pattern(), "2:4");
  EXPECT_EQ(manifest_.layers(2).pattern(), "kernel");
  EXPECT_EQ(manifest_.layers(3).pattern(), "pattern");
  EXPECT_EQ(manifest_.layers(4).pattern(), "block");
  EXPECT_DOUBLE_EQ(manifest_.layers(1).density(), 0.5);
  EXPECT_THAT(manifest_.layers(1).shape(), ElementsAre(16, 16, 3, 3));
  for (const v1::PackageLayer& layer : manifest_.layers()) {
    ASSERT_EQ(layer.backends_size(), static_cast<int>(BackendNames().size()));
    for (const v1::LayerBackend& backend : layer.backends()) {
      EXPECT_EQ(backend.eligible(), backend.reason().empty()) << layer.weight();
      EXPECT_EQ(backend.eligible(), !backend.file().empty()) << layer.weight();
      if (backend.name() == "nvidia24") {
        EXPECT_EQ(backend.eligible(), layer.pattern() == "2:4") << layer.weight();
      }
    }
  }
}

TEST_F(PackageTest, IsGoodAsItWasWritten) {
  const v1::PackageCheck check = Check();
  EXPECT_THAT(check.faults(), IsEmpty());
  EXPECT_TRUE(check.ok());
  EXPECT_EQ(check.files(), static_cast<uint32_t>(manifest_.files_size()) + 2);
  EXPECT_EQ(check.layer_files(), static_cast<uint32_t>(manifest_.files_size()) - 4);
  EXPECT_EQ(check.digest(), Sha256Hex(Read(kSumsFile)));
  for (const auto& entry : fs::directory_iterator(folder_.path())) {
    EXPECT_EQ(entry.path().filename(), "p");  // nothing is left aside
  }
}

TEST_F(PackageTest, TheSameNetworkGivesTheSameBytes) {
  const std::string sums = Read(kSumsFile);
  fs::remove_all(Path());
  SetUp();
  EXPECT_EQ(Read(kSumsFile), sums);
}

TEST_F(PackageTest, OverwritesNothing) {
  const auto again =
      WritePackage(ExportOnnx(SparseNetwork()).value(), Path(), {}, [](int64_t, int64_t) {});
  EXPECT_TRUE(absl::IsAlreadyExists(again.status())) << again.status();
  EXPECT_TRUE(Check().ok());
  PackageOptions unknown;
  unknown.formats = {"csr", "coo"};
  const auto refused =
      WritePackage(ExportOnnx(SparseNetwork()).value(), absl::StrCat(folder_.path(), "/q"), unknown,
                   [](int64_t, int64_t) {});
  EXPECT_THAT(refused.status().message(), HasSubstr("there is no backend \"coo\""));
  EXPECT_FALSE(fs::exists(absl::StrCat(folder_.path(), "/q")));
  const auto bad =
      WritePackage("no ONNX", absl::StrCat(folder_.path(), "/q"), {}, [](int64_t, int64_t) {});
  EXPECT_FALSE(bad.ok());
  PackageOptions twice;
  twice.formats = {"csr", "csr"};
  const auto doubled =
      WritePackage(ExportOnnx(SparseNetwork()).value(), absl::StrCat(folder_.path(), "/q"), twice,
                   [](int64_t, int64_t) {});
  EXPECT_THAT(doubled.status().message(), HasSubstr("names format csr twice"));
  EXPECT_FALSE(fs::exists(absl::StrCat(folder_.path(), "/q")));
}

TEST_F(PackageTest, EveryFileThatChangesIsNamedWithThePlace) {
  std::vector<std::string> names = {kModelFile, kWeightsFile, kInputFile, kExpectedFile};
  for (const v1::LayerBackend& backend : manifest_.layers(1).backends()) {
    if (backend.eligible()) names.push_back(backend.file());
  }
  for (const std::string& name : names) {
    const std::string bytes = Read(name);
    std::string changed = bytes;
    changed[bytes.size() / 2] = static_cast<char>(changed[bytes.size() / 2] ^ 4);
    Write(name, changed);
    const size_t block = bytes.size() / 2 / kPackageBlock * kPackageBlock;
    EXPECT_THAT(Faults(), HasSubstr(absl::StrCat(name, ": bytes ", block, " to "))) << name;
    Write(name, bytes.substr(0, bytes.size() - 1));
    EXPECT_EQ(Faults(),
              absl::StrCat(name, ": ends at byte ", bytes.size() - 1, " of ", bytes.size()));
    Write(name, bytes + "x");
    EXPECT_EQ(Faults(), absl::StrCat(name, ": goes on after byte ", bytes.size(), ", for 1 more"));
    fs::remove(Path(name));
    EXPECT_EQ(Faults(), absl::StrCat(name, ": is missing, or no plain file"));
    Write(name, bytes);
  }
  EXPECT_TRUE(Check().ok());
}

TEST_F(PackageTest, ManifestAndSumsAreGuardedToo) {
  const std::string manifest = Read(kManifestFile), sums = Read(kSumsFile);
  Write(kManifestFile, absl::StrReplaceAll(manifest, {{"\"j1\"", "\"j2\""}}));
  EXPECT_THAT(Faults(), HasSubstr("manifest.json: its sha256 is"));
  Write(kManifestFile, manifest);
  Write(kSumsFile, sums.substr(0, sums.size() - 3));
  EXPECT_THAT(Faults(), HasSubstr("SHA256SUMS, line "));
  Write(kSumsFile, sums + std::string(64, '0') + "  ../secret\n");
  EXPECT_THAT(Faults(), HasSubstr("does not stay in the package"));
  Write(kSumsFile, sums + std::string(64, '0') + "  more\n");
  EXPECT_THAT(Faults(), HasSubstr("SHA256SUMS: names more, the manifest does not"));
  fs::remove(Path(kSumsFile));
  EXPECT_THAT(Faults(), HasSubstr("SHA256SUMS: is missing"));
  Write(kSumsFile, sums);
  Write("more", "x");
  EXPECT_EQ(Faults(), "more: the manifest does not list it");
  fs::remove(Path("more"));
  fs::remove(Path(kInputFile));
  fs::create_symlink("/etc/hostname", Path(kInputFile));
  EXPECT_THAT(Faults(), HasSubstr("io/input.npy: is missing, or no plain file"));
}

// Digests alone prove little: whoever changes a file can change them as well.
TEST_F(PackageTest, WhatWasForgedDoesNotMatchTheNetwork) {
  const std::string sums = Read(kSumsFile), manifest = Read(kManifestFile);
  const auto restore = [&](const std::string& name, const std::string& bytes) {
    Write(name, bytes);
    Write(kManifestFile, manifest);
    Write(kSumsFile, sums);
  };
  for (const char* const name : {kWeightsFile, kExpectedFile}) {
    const std::string bytes = Read(name);
    std::string changed = bytes;
    changed[bytes.size() - 2] = static_cast<char>(changed[bytes.size() - 2] ^ 0x41);
    Forge(name, changed);
    EXPECT_THAT(Faults(), HasSubstr(absl::StrCat(name, ": "))) << name;
    restore(name, bytes);
  }
  // Another layer's file in a layer's place.
  const std::string own = Read(manifest_.layers(3).backends(0).file());
  Forge(manifest_.layers(3).backends(0).file(), Read(manifest_.layers(4).backends(0).file()));
  EXPECT_THAT(Faults(), HasSubstr(absl::StrCat(manifest_.layers(3).backends(0).file(), ": ")));
  restore(manifest_.layers(3).backends(0).file(), own);

  ForgeManifest(
      absl::StrReplaceAll(manifest, {{"\"pattern\": \"2:4\"", "\"pattern\": \"dense\""}}));
  EXPECT_THAT(Faults(), HasSubstr("manifest.json: layer layer1.0.conv1"));
  ForgeManifest(
      absl::StrReplaceAll(manifest, {{"\"schema_version\": 1", "\"schema_version\": 2"}}));
  EXPECT_THAT(Faults(), HasSubstr("schema version 2, this is made for 1"));
  ForgeManifest("{");
  EXPECT_THAT(Faults(), HasSubstr("not the JSON of a PackageManifest"));
  restore(kManifestFile, manifest);
  EXPECT_TRUE(Check().ok());
}

// The layer's entry for a backend.
v1::LayerBackend& Entry(v1::PackageManifest& manifest, int layer, absl::string_view backend) {
  for (v1::LayerBackend& entry : *manifest.mutable_layers(layer)->mutable_backends()) {
    if (entry.name() == backend) return entry;
  }
  ADD_FAILURE() << "no " << backend;
  return *manifest.mutable_layers(layer)->add_backends();
}

TEST_F(PackageTest, ManifestsThatSayOtherThanTheNetworkAreRefused) {
  const struct {
    std::function<void(v1::PackageManifest& manifest)> edit;
    std::string fault;
  } kCases[] = {
      {[](auto& m) { m.add_formats("coo"); }, "there is no backend \"coo\""},
      {[](auto& m) { m.add_formats("csr"); }, "manifest.json: names format csr twice"},
      {[](auto& m) { m.mutable_formats()->SwapElements(0, 1); },
       "manifest.json: layer conv1.weight: csc: name: \"csc\" -> \"csr\""},
      {[](auto& m) { m.mutable_formats()->RemoveLast(); },
       absl::StrCat("layer conv1.weight: lists ", BackendNames().size(), " formats, want ",
                    BackendNames().size() - 1)},
      {[](auto& m) { m.mutable_layers(5)->mutable_backends()->RemoveLast(); },
       absl::StrCat("lists ", BackendNames().size() - 1, " formats, want ", BackendNames().size())},
      {[](auto& m) { m.mutable_layers(5)->clear_backends(); }, "lists 0 formats, want "},
      {[](auto& m) { m.mutable_layers(5)->mutable_backends()->SwapElements(0, 1); }, "csr: name"},
      {[](auto& m) { m.mutable_layers()->RemoveLast(); }, "lists 19 layers, model.onnx has 20"},
      {[](auto& m) { m.mutable_layers(1)->set_nonzeros(1); }, "layer1.0.conv1.weight: nonzeros"},
      {[](auto& m) { m.mutable_layers(1)->set_positions(1); }, "conv1.weight: positions: 64 -> 1"},
      {[](auto& m) { m.mutable_layers(1)->set_density(0.25); }, "density: 0.5 -> 0.25"},
      {[](auto& m) { Entry(m, 1, "csr").set_eligible(false); }, "csr: deleted: eligible: true"},
      {[](auto& m) { Entry(m, 0, "nvidia24").set_eligible(true); },
       "nvidia24: added: eligible: true"},
      {[](auto& m) { Entry(m, 0, "nvidia24").set_reason("bad luck"); }, "-> \"bad luck\""},
      {[](auto& m) { Entry(m, 1, "csr").set_file(Entry(m, 2, "csr").file()); }, "csr: file: "},
      {[](auto& m) { Entry(m, 1, "csr").set_file("../../secret"); }, "csr: file: "},
      {[](auto& m) { Entry(m, 1, "eie").set_tolerance(0); }, "eie: deleted: tolerance: "},
      {[](auto& m) { Entry(m, 1, "csr").set_tolerance(1); }, "csr: added: tolerance: 1"},
      {[](auto& m) { Entry(m, 1, "csr").set_nonzeros(5); }, "csr: nonzeros: 1152 -> 5"},
      {[](auto& m) { Entry(m, 1, "csr").set_bytes(5); }, "csr: bytes: "},
      {[](auto& m) { Entry(m, 1, "csr").set_simulated_us(1); }, "csr: added: simulated_us: 1"},
      {[](auto& m) {
         v1::LayerBackend& eie = Entry(m, 1, "eie");
         eie.set_simulated_cycles(eie.simulated_cycles() * 1.02);
       },
       "eie: simulated_cycles: "},
      {[](auto& m) { Entry(m, 1, "eie").set_simulated_us(0); }, "eie: deleted: simulated_us: "},
      {[](auto& m) { Entry(m, 1, "eie").set_simulated_cycles(HUGE_VAL); }, "-> inf"},
      {[](auto& m) { Entry(m, 1, "eie").set_simulated_cycles(NAN); }, "-> nan"},
      {[](auto& m) { m.mutable_self_test()->set_tolerance(1); }, "manifest.json: self_test is not"},
      {[](auto& m) { m.mutable_self_test()->set_input(kExpectedFile); }, "self_test is not"},
      {[](auto& m) { m.clear_self_test(); }, "self_test is not"},
      {[](auto& m) { (*m.mutable_keep())["conv1"] = 0; }, "keeps 0 channels of conv1"},
      {[](auto& m) { (*m.mutable_keep())["conv1"] = -3; }, "keeps -3 channels of conv1"},
  };
  const std::string sums = Read(kSumsFile), text = Read(kManifestFile);
  for (const auto& test : kCases) {
    v1::PackageManifest manifest = manifest_;
    test.edit(manifest);
    ForgeManifest(WriteManifest(manifest));
    EXPECT_THAT(Faults(), HasSubstr(test.fault));
  }
  // Another machine may count a zero more.
  v1::PackageManifest manifest = manifest_;
  v1::LayerBackend& eie = Entry(manifest, 1, "eie");
  eie.set_simulated_cycles(eie.simulated_cycles() * 1.005);
  ForgeManifest(WriteManifest(manifest));
  EXPECT_EQ(Faults(), "");

  // A stowaway, listed and with its digests.
  Write("notes", "x");
  manifest = manifest_;
  *manifest.add_files() = DigestFile("notes", "x");
  ForgeManifest(WriteManifest(manifest));
  EXPECT_EQ(Faults(), "manifest.json: lists notes, which no layer refers to");
}

TEST_F(PackageTest, SelfTestsOfOtherValuesAreRefused) {
  const std::string sums = Read(kSumsFile), text = Read(kManifestFile);
  const struct {
    const char* name;
    std::function<void(NpyArray& array)> edit;
    const char* fault;
  } kCases[] = {
      {kExpectedFile, [](auto& a) { a.values[3] = HUGE_VALF; },
       "io/expected.npy: value 3 is inf, which is not finite"},
      {kExpectedFile, [](auto& a) { a.values[3] = NAN; }, "io/expected.npy: value 3 is nan"},
      {kExpectedFile, [](auto& a) { a.values[3] += 1; }, "io/expected.npy: value 3 is "},
      {kExpectedFile, [](auto& a) { a.shape = {20}; },
       "io/expected.npy: holds 20, the network gives 2x10"},
      {kInputFile, [](auto& a) { a.values[0] = -HUGE_VALF; }, "io/input.npy: value 0 is -inf"},
      {kInputFile, [](auto& a) { a.values[0] = 3e38f; }, "io/expected.npy: value 0 is "},
      {kInputFile,
       [](auto& a) {
         a.shape = {2, 8, 8, 3};
       },
       "io/input.npy: holds 2x8x8x3"},
      {kInputFile,
       [](auto& a) {
         a = {{int64_t{1} << 62, 0}, {}};
       },
       "io/input.npy: "},
      {kInputFile,
       [](auto& a) {
         a = {{}, {1}};
       },
       "io/input.npy: holds "},
  };
  for (const auto& test : kCases) {
    const std::string bytes = Read(test.name);
    NpyArray array = ParseNpy(bytes).value();
    test.edit(array);
    Forge(test.name, SerializeNpy(array));
    EXPECT_THAT(Faults(), HasSubstr(test.fault));
    Write(test.name, bytes);
    Write(kManifestFile, text);
    Write(kSumsFile, sums);
  }
  EXPECT_TRUE(Check().ok());
}

// Files that other bytes of the same meaning stand in hold what nobody looks at.
TEST_F(PackageTest, FilesAreWhatWritingGivesByteForByte) {
  const std::string sums = Read(kSumsFile), text = Read(kManifestFile);
  for (const std::string& name : {Entry(manifest_, 3, "csr").file(), std::string(kWeightsFile)}) {
    // Eight blanks more in the header of safetensors.
    const std::string bytes = Read(name);
    uint64_t length = 0;
    std::memcpy(&length, bytes.data(), sizeof(length));
    std::string padded = bytes;
    padded.insert(sizeof(length) + length, 8, ' ');
    length += 8;
    std::memcpy(padded.data(), &length, sizeof(length));
    Forge(name, padded);
    EXPECT_EQ(Faults(), absl::StrCat(name, ": byte 0 is not what model.onnx gives"));
    Write(name, bytes);
    Write(kManifestFile, text);
    Write(kSumsFile, sums);
  }
  const std::string name = Entry(manifest_, 3, "eie").file();
  std::string bytes = Read(name);
  bytes[bytes.size() - 1] ^= 1;
  Forge(name, bytes);
  EXPECT_EQ(Faults(),
            absl::StrCat(name, ": byte ", bytes.size() - 1, " is not what model.onnx gives"));
}

TEST_F(PackageTest, LinksAndEmptyFoldersAreFaults) {
  fs::create_symlink(kModelFile, Path("evil"));
  EXPECT_EQ(Faults(), "evil: is a symbolic link");
  fs::remove(Path("evil"));
  fs::create_directory_symlink("csr", Path("folder"));
  EXPECT_EQ(Faults(), "folder: is a symbolic link");
  fs::remove(Path("folder"));
  fs::create_directories(Path("a/b"));
  EXPECT_EQ(Faults(), "a/b: the manifest does not list it");
  fs::remove_all(Path("a"));
  // Nothing is read through links, not even what is as it should be.
  fs::rename(Path("io"), absl::StrCat(folder_.path(), "/io"));
  fs::create_directory_symlink("../io", Path("io"));
  EXPECT_EQ(Faults(),
            "io/input.npy: is missing, or no plain file; "
            "io/expected.npy: is missing, or no plain file; io: is a symbolic link");
  fs::remove(Path("io"));
  fs::rename(absl::StrCat(folder_.path(), "/io"), Path("io"));
  EXPECT_TRUE(Check().ok());
  // The package itself may be reached through one.
  const std::string latest = absl::StrCat(folder_.path(), "/latest");
  fs::create_directory_symlink("p", latest);
  EXPECT_TRUE(CheckPackage(latest, {}, [](int64_t, int64_t) {}).value().ok());
  fs::create_symlink(kModelFile, Path("evil"));
  EXPECT_FALSE(CheckPackage(latest + "/", {}, [](int64_t, int64_t) {}).value().ok());
  EXPECT_TRUE(
      absl::IsNotFound(CheckPackage(latest + "/none", {}, [](int64_t, int64_t) {}).status()));
}

TEST_F(PackageTest, ForgedBytesAnywhereAreFaultsOrHarmlessButNeverACrash) {
  Rng rng(7);
  const std::string sums = Read(kSumsFile), manifest = Read(kManifestFile);
  for (int trial = 0; trial < 20; ++trial) {
    const v1::PackageFile& file =
        manifest_.files(static_cast<int>(rng.Below(static_cast<uint64_t>(manifest_.files_size()))));
    const std::string bytes = Read(file.path());
    std::string changed = bytes;
    for (int flips = 0; flips < 3; ++flips) {
      changed[rng.Below(std::min<uint64_t>(changed.size(), 400))] ^=
          static_cast<char>(1 + rng.Below(255));
    }
    if (trial % 3 == 0) changed.resize(rng.Below(changed.size()));
    Forge(file.path(), changed);
    Check();
    Write(file.path(), bytes);
    std::string text = manifest;
    text[rng.Below(text.size())] = static_cast<char>(rng.Below(256));
    ForgeManifest(text);
    Check();
    Write(kManifestFile, manifest);
    Write(kSumsFile, sums);
  }
  EXPECT_TRUE(Check().ok());
}

TEST(DigestsTest, FindsTheBlock) {
  std::string bytes(3 * kPackageBlock + 10, 'x');
  const v1::PackageFile file = DigestFile("a/b", bytes);
  EXPECT_EQ(file.blocks_size(), 4);
  EXPECT_TRUE(CheckDigest(file, bytes).ok());
  bytes[2 * kPackageBlock] = 'y';
  EXPECT_EQ(CheckDigest(file, bytes).message(),
            "a/b: bytes 131072 to 196607 are not what was written");
}

TEST(DigestsTest, PathsStayInThePackage) {
  EXPECT_TRUE(CheckPackagePath("csr/000-conv1.weight.safetensors").ok());
  for (const char* const bad :
       {"", "/etc/passwd", "../x", "a/../b", "a//b", "a/", ".", "a b", "a\n"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(CheckPackagePath(bad))) << bad;
  }
}

}  // namespace
}  // namespace amc
