#include "env/exec/image_folder.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/rng.h"
#include "base/status_macros.h"
#include "env/exec/image_codec.h"
#include "env/exec/pack_header.h"

namespace amc {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxEdge = 1 << 14;

struct LabelledFile {
  std::string path;
  int32_t label = 0;
};

bool HasImageExtension(const fs::path& path) {
  const std::string extension = absl::AsciiStrToLower(path.extension().string());
  return extension == ".png" || extension == ".jpg" || extension == ".jpeg";
}

// The folder's entries that `wanted` picks, sorted by name.
template <typename Predicate>
absl::StatusOr<std::vector<fs::path>> List(const fs::path& folder, Predicate wanted) {
  std::error_code error;
  std::vector<fs::path> entries;
  fs::directory_iterator it(folder, error);
  for (; !error && it != fs::directory_iterator(); it.increment(error)) {
    if (wanted(*it)) entries.push_back(it->path());
  }
  if (error) return ErrnoToStatus(error.value(), "cannot list", folder.string());
  std::sort(entries.begin(), entries.end());
  return entries;
}

absl::StatusOr<std::vector<LabelledFile>> ListImages(const std::string& path,
                                                     std::vector<std::string>& class_names) {
  std::error_code ignored;
  AMC_ASSIGN_OR_RETURN(
      const std::vector<fs::path> folders, List(path, [&](const fs::directory_entry& entry) {
        return entry.is_directory(ignored) && entry.path().filename().string().front() != '.';
      }));
  std::vector<LabelledFile> files;
  for (const fs::path& folder : folders) {
    AMC_ASSIGN_OR_RETURN(const std::vector<fs::path> images,
                         List(folder, [](const fs::directory_entry& entry) {
                           return HasImageExtension(entry.path());
                         }));
    if (images.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat(folder.string(), ": no .png, .jpg or .jpeg files in this class's folder"));
    }
    for (const fs::path& image : images) {
      files.push_back({image.string(), static_cast<int32_t>(class_names.size())});
    }
    class_names.push_back(folder.filename().string());
  }
  if (files.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": no class folders (want DIR/CLASS/*.png, .jpg or .jpeg)"));
  }
  if (const absl::Status status = CheckClassNames(class_names); !status.ok()) {
    return Annotate(status, path);
  }
  return files;
}

// Appends the image's planes to `pixels`.
void AppendPlanes(const Image& image, bool grayscale, std::vector<uint8_t>& pixels) {
  if (grayscale) {
    const std::vector<uint8_t> gray = ToGray(image);
    pixels.insert(pixels.end(), gray.begin(), gray.end());
    return;
  }
  for (size_t c = 0; c < 3; ++c) {
    for (size_t i = c; i < image.rgb.size(); i += 3) pixels.push_back(image.rgb[i]);
  }
}

}  // namespace

absl::StatusOr<ImageSet> LoadImageFolder(const std::string& path,
                                         const ImageFolderOptions& options) {
  if (options.size < 0 || options.size > kMaxEdge) {
    return absl::InvalidArgumentError(
        absl::StrCat("image size is ", options.size, ", want 0 to ", kMaxEdge));
  }
  ImageSet set;
  set.channels = options.grayscale ? 1 : 3;
  AMC_ASSIGN_OR_RETURN(std::vector<LabelledFile> files, ListImages(path, set.class_names));
  if (options.max_images > 0 && options.max_images < static_cast<int64_t>(files.size())) {
    Rng rng(options.seed);
    std::vector<LabelledFile> chosen;
    for (const int64_t i : rng.Permutation(static_cast<int64_t>(files.size()))) {
      if (static_cast<int64_t>(chosen.size()) == options.max_images) break;
      chosen.push_back(files[static_cast<size_t>(i)]);
    }
    files = std::move(chosen);
  }
  for (const LabelledFile& file : files) {
    AMC_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(file.path));
    absl::StatusOr<Image> image = DecodeImage(bytes);
    if (!image.ok()) return Annotate(image.status(), file.path);
    if (options.size > 0) *image = ResizeAndCrop(*image, options.size);
    if (set.labels.empty()) {
      set.height = image->height;
      set.width = image->width;
    }
    if (image->height != set.height || image->width != set.width) {
      return absl::InvalidArgumentError(absl::StrCat(
          file.path, ": ", image->width, "x", image->height, " pixels, the first image has ",
          set.width, "x", set.height, "; ask for one size to resize them"));
    }
    AppendPlanes(*image, options.grayscale, set.pixels);
    set.labels.push_back(file.label);
    if (options.progress) options.progress(set.size(), static_cast<int64_t>(files.size()));
  }
  return set;
}

}  // namespace amc
