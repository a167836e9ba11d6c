#include "env/exec/data_source.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "env/exec/cifar.h"
#include "env/exec/idx.h"

namespace amc {
namespace {

bool Exists(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

// DIR/NAME, or DIR/NAME.gz where only that is there.
std::string PlainOrGz(const std::string& directory, const std::string& name) {
  const std::string path = absl::StrCat(directory, "/", name);
  return !Exists(path) && Exists(path + ".gz") ? path + ".gz" : path;
}

absl::StatusOr<TrainTest> LoadIdxDirectory(const std::string& path) {
  TrainTest sets;
  AMC_ASSIGN_OR_RETURN(sets.train, LoadIdx(PlainOrGz(path, "train-images-idx3-ubyte"),
                                           PlainOrGz(path, "train-labels-idx1-ubyte")));
  AMC_ASSIGN_OR_RETURN(sets.test, LoadIdx(PlainOrGz(path, "t10k-images-idx3-ubyte"),
                                          PlainOrGz(path, "t10k-labels-idx1-ubyte")));
  return sets;
}

// One name per line; none if the file is not there.
absl::StatusOr<std::vector<std::string>> ReadNames(const std::string& path) {
  std::vector<std::string> names;
  if (!Exists(path)) return names;
  AMC_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    const absl::string_view name = absl::StripAsciiWhitespace(line);
    if (!name.empty()) names.emplace_back(name);
  }
  return names;
}

absl::StatusOr<TrainTest> LoadCifarDirectory(const std::string& path) {
  const bool is_100 = Exists(path + "/train.bin");
  const CifarKind kind = is_100 ? CifarKind::kCifar100 : CifarKind::kCifar10;
  std::vector<std::string> train;
  if (is_100) {
    train.push_back(path + "/train.bin");
  } else {
    for (int i = 1; i <= 5; ++i) train.push_back(absl::StrCat(path, "/data_batch_", i, ".bin"));
  }
  AMC_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                       ReadNames(path + (is_100 ? "/fine_label_names.txt" : "/batches.meta.txt")));
  TrainTest sets;
  AMC_ASSIGN_OR_RETURN(sets.train, LoadCifar(kind, train, names));
  AMC_ASSIGN_OR_RETURN(sets.test,
                       LoadCifar(kind, {path + (is_100 ? "/test.bin" : "/test_batch.bin")}, names));
  return sets;
}

absl::StatusOr<TrainTest> LoadFolders(const std::string& path, const ImageFolderOptions& options) {
  TrainTest sets;
  if (!Exists(path + "/train")) {
    for (const char* test : {"/test", "/val"}) {
      if (!Exists(path + test)) continue;
      return absl::InvalidArgumentError(absl::StrCat(path, ": has ", test + 1,
                                                     "/ but no train/: want train/CLASS/* with ",
                                                     test + 1, "/CLASS/*, or CLASS/* alone"));
    }
    AMC_ASSIGN_OR_RETURN(sets.train, LoadImageFolder(path, options));
    return sets;
  }
  AMC_ASSIGN_OR_RETURN(sets.train, LoadImageFolder(path + "/train", options));
  const std::string test = Exists(path + "/test") ? path + "/test" : path + "/val";
  if (Exists(test)) {
    AMC_ASSIGN_OR_RETURN(sets.test, LoadImageFolder(test, options));
  }
  return sets;
}

// Test images must look like training images, and know no class that those do not.
absl::Status CheckAlike(const TrainTest& sets) {
  const ImageSet& train = sets.train;
  const ImageSet& test = sets.test;
  if (test.size() == 0) return absl::OkStatus();
  if (train.channels != test.channels || train.height != test.height || train.width != test.width) {
    return absl::InvalidArgumentError(
        absl::StrCat("training images are ", train.channels, "x", train.height, "x", train.width,
                     ", test images ", test.channels, "x", test.height, "x", test.width));
  }
  const auto missing = [](const std::vector<std::string>& names, const std::string& name) {
    return std::find(names.begin(), names.end(), name) == names.end();
  };
  for (const std::string& name : train.class_names) {
    if (test.class_names.size() >= train.class_names.size()) break;
    if (!missing(test.class_names, name)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("class \"", name, "\" has training images, but no test images"));
  }
  for (const std::string& name : test.class_names) {
    if (!missing(train.class_names, name)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("class \"", name, "\" has test images, but no training images"));
  }
  for (size_t c = 0; c < test.class_names.size(); ++c) {
    const bool known = c < train.class_names.size();
    if (known && train.class_names[c] == test.class_names[c]) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("class ", c, " of the test images is \"", test.class_names[c],
                     "\", of the training images ",
                     known ? absl::StrCat("\"", train.class_names[c], "\"") : "missing"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<DataFormat> ParseDataFormat(absl::string_view name) {
  if (name == "idx") return DataFormat::kIdx;
  if (name == "cifar") return DataFormat::kCifar;
  if (name == "folder") return DataFormat::kFolder;
  return absl::InvalidArgumentError(
      absl::StrCat("data format \"", name, "\" is none of idx, cifar, folder"));
}

absl::StatusOr<TrainTest> LoadDataSource(DataFormat format, const std::string& path,
                                         const ImageFolderOptions& options) {
  absl::StatusOr<TrainTest> sets = format == DataFormat::kIdx     ? LoadIdxDirectory(path)
                                   : format == DataFormat::kCifar ? LoadCifarDirectory(path)
                                                                  : LoadFolders(path, options);
  AMC_RETURN_IF_ERROR(sets.status());
  if (absl::Status status = CheckAlike(*sets); !status.ok()) return Annotate(status, path);
  return sets;
}

}  // namespace amc
