// Writes and reads data packs. The file holds nothing but what the layout in data_pack.h names:
// padding is zero, and the sizes add up to the byte. The header's text is in pack_header.h.
#include "env/exec/data_pack.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "env/exec/pack_header.h"

namespace amc {
namespace {

constexpr absl::string_view kMagic = "AMCPACK1";
constexpr uint64_t kPrefix = 12;  // magic and header size
constexpr uint64_t kAlignment = 64;
constexpr uint64_t kMaxHeader = 16 << 20;

uint64_t RoundUp(uint64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// A read-only map of a whole file.
class MappedFile {
 public:
  static absl::StatusOr<MappedFile> Open(const std::string& path) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return ErrnoToStatus(errno, "cannot open", path);
    struct stat info {};
    absl::Status status;
    MappedFile file;
    if (::fstat(fd, &info) != 0) {
      status = ErrnoToStatus(errno, "cannot stat", path);
    } else if (!S_ISREG(info.st_mode)) {
      status = absl::InvalidArgumentError(absl::StrCat(path, ": not a regular file"));
    } else if (info.st_size > 0) {
      file.size_ = static_cast<size_t>(info.st_size);
      void* const data = ::mmap(nullptr, file.size_, PROT_READ, MAP_PRIVATE, fd, 0);
      if (data == MAP_FAILED) {
        status = ErrnoToStatus(errno, "cannot map", path);
      } else {
        file.data_ = static_cast<const char*>(data);
      }
    }
    ::close(fd);
    if (!status.ok()) return status;
    return file;
  }
  MappedFile(MappedFile&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  MappedFile& operator=(MappedFile&&) = delete;
  ~MappedFile() {
    if (data_ != nullptr) ::munmap(const_cast<char*>(data_), size_);
  }
  absl::string_view bytes() const { return {data_, data_ == nullptr ? 0 : size_}; }

 private:
  MappedFile() = default;
  const char* data_ = nullptr;
  size_t size_ = 0;
};

class MappedPack : public DataPack {
 public:
  MappedPack(MappedFile file, PackHeader header, uint64_t images_offset,
             std::vector<int32_t> labels)
      : file_(std::move(file)),
        header_(std::move(header)),
        pixels_(reinterpret_cast<const uint8_t*>(file_.bytes().data()) + images_offset),
        labels_(std::move(labels)),
        values_(static_cast<size_t>(header_.channels)) {
    for (size_t c = 0; c < values_.size(); ++c) {
      const double mean = header_.preprocessing.mean[c];
      const double deviation = header_.preprocessing.deviation[c];
      for (int pixel = 0; pixel < 256; ++pixel) {
        values_[c][static_cast<size_t>(pixel)] =
            static_cast<float>((pixel / 255.0 - mean) / deviation);
      }
    }
  }

  int64_t channels() const override { return header_.channels; }
  int64_t height() const override { return header_.height; }
  int64_t width() const override { return header_.width; }
  int64_t size(Split split) const override { return header_.split_sizes[static_cast<int>(split)]; }
  const std::vector<std::string>& class_names() const override { return header_.class_names; }
  const Preprocessing& preprocessing() const override { return header_.preprocessing; }

  absl::Span<const int32_t> labels(Split split) const override {
    return absl::MakeConstSpan(labels_).subspan(static_cast<size_t>(First(split)),
                                                static_cast<size_t>(size(split)));
  }

  absl::Span<const uint8_t> Pixels(Split split, int64_t first, int64_t count) const override {
    const int64_t begin = std::min(std::max<int64_t>(first, 0), size(split));
    const int64_t available = std::min(std::max<int64_t>(count, 0), size(split) - begin);
    return {pixels_ + (First(split) + begin) * header_.image_bytes(),
            static_cast<size_t>(available * header_.image_bytes())};
  }

  std::vector<float> Images(Split split, int64_t first, int64_t count) const override {
    const absl::Span<const uint8_t> pixels = Pixels(split, first, count);
    std::vector<float> images(pixels.size());
    const auto plane = static_cast<size_t>(header_.height * header_.width);
    size_t i = 0;
    while (i < pixels.size()) {
      for (const std::array<float, 256>& values : values_) {
        for (const size_t end = i + plane; i < end; ++i) images[i] = values[pixels[i]];
      }
    }
    return images;
  }

 private:
  // The index of the split's first image in the file.
  int64_t First(Split split) const {
    int64_t first = 0;
    for (int s = 0; s < static_cast<int>(split); ++s) first += header_.split_sizes[s];
    return first;
  }

  MappedFile file_;
  PackHeader header_;
  const uint8_t* pixels_;
  std::vector<int32_t> labels_;
  std::vector<std::array<float, 256>> values_;  // per channel: pixel to preprocessed value
};

absl::StatusOr<std::unique_ptr<DataPack>> Parse(MappedFile file) {
  const absl::string_view bytes = file.bytes();
  if (bytes.size() < kPrefix || bytes.substr(0, kMagic.size()) != kMagic) {
    return absl::InvalidArgumentError("offset 0: not a data pack (no AMCPACK1 at its start)");
  }
  uint32_t header_size = 0;
  std::memcpy(&header_size, bytes.data() + kMagic.size(), sizeof(header_size));
  if (header_size > kMaxHeader || kPrefix + header_size > bytes.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("offset 8: a header of ", header_size, " bytes in a file of ", bytes.size()));
  }
  absl::StatusOr<PackHeader> header = ParsePackHeader(bytes.substr(kPrefix, header_size));
  if (!header.ok()) return Annotate(header.status(), "offset 12");
  const uint64_t images_offset = RoundUp(kPrefix + header_size);
  const auto images = static_cast<uint64_t>(header->images());
  const uint64_t image_bytes = images * static_cast<uint64_t>(header->image_bytes());
  const uint64_t labels_offset = images_offset + image_bytes;
  const uint64_t expected = labels_offset + images * sizeof(int32_t);
  if (bytes.size() != expected) {
    return absl::InvalidArgumentError(
        absl::StrCat("offset ", std::min<uint64_t>(bytes.size(), expected), ": the file has ",
                     bytes.size(), " bytes, its header asks for ", expected));
  }
  for (uint64_t i = kPrefix + header_size; i < images_offset; ++i) {
    if (bytes[i] != '\0') {
      return absl::InvalidArgumentError(absl::StrCat("offset ", i, ": padding is not zero"));
    }
  }
  std::vector<int32_t> labels(images);
  std::memcpy(labels.data(), bytes.data() + labels_offset, images * sizeof(int32_t));
  if (absl::Status status = CheckLabels(labels, header->class_names.size()); !status.ok()) {
    return Annotate(status, absl::StrCat("labels at offset ", labels_offset));
  }
  return std::make_unique<MappedPack>(std::move(file), *std::move(header), images_offset,
                                      std::move(labels));
}

}  // namespace

absl::string_view SplitName(Split split) {
  switch (split) {
    case Split::kReconstruction:
      return "reconstruction";
    case Split::kReward:
      return "reward";
    case Split::kReport:
      return "report";
  }
  return "unknown";
}

absl::StatusOr<std::unique_ptr<DataPack>> DataPack::Open(const std::string& path) {
  AMC_ASSIGN_OR_RETURN(MappedFile file, MappedFile::Open(path));
  absl::StatusOr<std::unique_ptr<DataPack>> pack = Parse(std::move(file));
  if (!pack.ok()) return Annotate(pack.status(), path);
  return pack;
}

absl::StatusOr<std::string> SerializePack(const PackContents& contents) {
  const ImageSet& images = contents.images;
  PackHeader header;
  header.channels = images.channels;
  header.height = images.height;
  header.width = images.width;
  for (int s = 0; s < 3; ++s) header.split_sizes[s] = contents.split_sizes[s];
  header.preprocessing = contents.preprocessing;
  header.class_names = images.class_names;
  header.source = contents.source;
  for (char& c : header.source) {
    if (c == '\n') c = ' ';
  }
  AMC_RETURN_IF_ERROR(CheckPackHeader(header));
  AMC_RETURN_IF_ERROR(CheckLabels(images.labels, images.class_names.size()));
  if (header.images() != images.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the splits ask for ", header.images(), " images, there are ", images.size()));
  }
  const auto pixel_bytes = static_cast<size_t>(images.size() * header.image_bytes());
  if (images.pixels.size() != pixel_bytes) {
    return absl::InvalidArgumentError(absl::StrCat(images.size(), " images need ", pixel_bytes,
                                                   " bytes of pixels, there are ",
                                                   images.pixels.size()));
  }
  const std::string text = FormatPackHeader(header);
  if (text.size() > kMaxHeader) {
    return absl::InvalidArgumentError(
        absl::StrCat("the header has ", text.size(), " bytes, want at most ", kMaxHeader));
  }
  const auto header_size = static_cast<uint32_t>(text.size());
  std::string bytes(RoundUp(kPrefix + text.size()), '\0');
  std::memcpy(bytes.data(), kMagic.data(), kMagic.size());
  std::memcpy(bytes.data() + kMagic.size(), &header_size, sizeof(header_size));
  std::memcpy(bytes.data() + kPrefix, text.data(), text.size());
  bytes.reserve(bytes.size() + pixel_bytes + images.labels.size() * sizeof(int32_t));
  bytes.append(reinterpret_cast<const char*>(images.pixels.data()), pixel_bytes);
  bytes.append(reinterpret_cast<const char*>(images.labels.data()),
               images.labels.size() * sizeof(int32_t));
  return bytes;
}

}  // namespace amc
