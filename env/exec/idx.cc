#include "env/exec/idx.h"

#include <sys/stat.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_macros.h"

namespace amc {
namespace {

constexpr uint8_t kUint8Type = 8;
constexpr uint64_t kMaxElements = uint64_t{1} << 36;
constexpr size_t kStep = 1 << 20;  // memory grows as bytes arrive, not as the header claims

struct GzClose {
  void operator()(gzFile file) const { gzclose(file); }
};
using GzFile = std::unique_ptr<gzFile_s, GzClose>;

struct IdxArray {
  std::vector<uint64_t> dims;
  std::vector<uint8_t> values;
};

class IdxReader {
 public:
  static absl::StatusOr<IdxArray> Read(const std::string& path, size_t dims) {
    struct stat info {};
    if (::stat(path.c_str(), &info) != 0) return ErrnoToStatus(errno, "cannot open", path);
    errno = 0;
    GzFile file(gzopen(path.c_str(), "rb"));  // reads plain files too
    if (file == nullptr) return ErrnoToStatus(errno, "cannot open", path);
    IdxReader reader(path, std::move(file));
    return reader.ReadArray(dims);
  }

 private:
  IdxReader(const std::string& path, GzFile file) : path_(path), file_(std::move(file)) {}

  absl::Status Error(uint64_t offset, absl::string_view what) const {
    return absl::InvalidArgumentError(absl::StrCat(path_, ": offset ", offset, ": ", what));
  }

  // Appends up to `count` bytes; fewer only at the end of the file.
  absl::Status ReadUpTo(uint64_t count, std::vector<uint8_t>& bytes) {
    while (count > 0) {
      const size_t step = std::min<uint64_t>(count, kStep);
      const size_t filled = bytes.size();
      bytes.resize(filled + step);
      const int n = gzread(file_.get(), bytes.data() + filled, static_cast<unsigned>(step));
      bytes.resize(filled + static_cast<size_t>(std::max(n, 0)));
      offset_ += static_cast<uint64_t>(std::max(n, 0));
      int code = Z_OK;
      const char* const message = gzerror(file_.get(), &code);
      if (code != Z_OK && code != Z_STREAM_END) {
        return Error(offset_,
                     absl::StrCat("the compressed data is damaged or cut short: ", message));
      }
      if (n <= 0) return absl::OkStatus();
      count -= static_cast<uint64_t>(n);
    }
    return absl::OkStatus();
  }

  absl::StatusOr<IdxArray> ReadArray(size_t dims) {
    std::vector<uint8_t> header;
    AMC_RETURN_IF_ERROR(ReadUpTo(4 + 4 * dims, header));
    if (header.size() < 4 || header[0] != 0 || header[1] != 0) {
      return Error(0, "not an IDX file (no two zero bytes at its start)");
    }
    if (header[2] != kUint8Type) {
      return Error(2, absl::StrCat("element type ", header[2], ", want 8 (uint8)"));
    }
    if (header[3] != dims) {
      return Error(3, absl::StrCat(header[3], " dimensions, want ", dims));
    }
    if (header.size() < 4 + 4 * dims) return Error(header.size(), "the file ends in its header");
    IdxArray array;
    uint64_t elements = 1;
    for (size_t d = 0; d < dims; ++d) {
      const uint8_t* const byte = &header[4 + 4 * d];
      const uint64_t dim = (uint64_t{byte[0]} << 24) | (uint64_t{byte[1]} << 16) |
                           (uint64_t{byte[2]} << 8) | uint64_t{byte[3]};
      if (dim == 0 || dim > kMaxElements / elements) {
        return Error(4 + 4 * d, absl::StrCat("dimension ", d, " is ", dim));
      }
      elements *= dim;
      array.dims.push_back(dim);
    }
    AMC_RETURN_IF_ERROR(ReadUpTo(elements, array.values));
    if (array.values.size() < elements) {
      return Error(offset_, absl::StrCat("the file ends after ", array.values.size(), " of ",
                                         elements, " elements"));
    }
    std::vector<uint8_t> rest;
    AMC_RETURN_IF_ERROR(ReadUpTo(1, rest));
    if (!rest.empty()) {
      return Error(offset_ - 1,
                   absl::StrCat("more bytes than the ", elements, " elements of the header"));
    }
    return array;
  }

  const std::string& path_;
  GzFile file_;
  uint64_t offset_ = 0;
};

}  // namespace

absl::StatusOr<ImageSet> LoadIdx(const std::string& images_path, const std::string& labels_path) {
  AMC_ASSIGN_OR_RETURN(IdxArray images, IdxReader::Read(images_path, 3));
  AMC_ASSIGN_OR_RETURN(const IdxArray labels, IdxReader::Read(labels_path, 1));
  if (images.dims[0] != labels.dims[0]) {
    return absl::InvalidArgumentError(absl::StrCat(images_path, " has ", images.dims[0],
                                                   " images, ", labels_path, " has ",
                                                   labels.dims[0], " labels"));
  }
  ImageSet set;
  set.channels = 1;
  set.height = static_cast<int64_t>(images.dims[1]);
  set.width = static_cast<int64_t>(images.dims[2]);
  set.pixels = std::move(images.values);
  set.labels.assign(labels.values.begin(), labels.values.end());
  const int32_t highest = *std::max_element(set.labels.begin(), set.labels.end());
  for (int32_t c = 0; c <= highest; ++c) set.class_names.push_back(absl::StrCat(c));
  return set;
}

}  // namespace amc
