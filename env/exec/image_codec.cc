#include "env/exec/image_codec.h"

#include <png.h>

#include <algorithm>
#include <cmath>
#include <csetjmp>
#include <cstdio>
#include <string>
//
#include <jpeglib.h>
//
#include <jerror.h>

#include "absl/strings/str_cat.h"

namespace amc {
namespace {

constexpr int64_t kMaxPixels = int64_t{1} << 28;

absl::Status CheckSize(int64_t height, int64_t width) {
  if (height >= 1 && width >= 1 && height <= kMaxPixels / width) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("the image has ", width, "x", height, " pixels"));
}

absl::StatusOr<Image> DecodePng(absl::string_view bytes) {
  // libpng is content once it has the pixels; a whole file ends with this chunk and its checksum.
  if (bytes.find("IEND\xae\x42\x60\x82") == absl::string_view::npos) {
    return absl::InvalidArgumentError("damaged PNG: the data ends before the IEND chunk");
  }
  png_image png{};
  png.version = PNG_IMAGE_VERSION;
  const auto error = [&png](absl::string_view what) {
    const std::string message = png.message;
    png_image_free(&png);
    return absl::InvalidArgumentError(absl::StrCat(what, ": ", message));
  };
  if (png_image_begin_read_from_memory(&png, bytes.data(), bytes.size()) == 0) {
    return error("damaged PNG");
  }
  if (absl::Status status = CheckSize(png.height, png.width); !status.ok()) {
    png_image_free(&png);
    return status;
  }
  png.format = PNG_FORMAT_RGBA;
  std::vector<uint8_t> rgba(PNG_IMAGE_SIZE(png));
  if (png_image_finish_read(&png, nullptr, rgba.data(), 0, nullptr) == 0) {
    return error("damaged PNG");
  }
  Image image;
  image.height = png.height;
  image.width = png.width;
  image.rgb.reserve(rgba.size() / 4 * 3);
  for (size_t i = 0; i < rgba.size(); i += 4) {
    image.rgb.insert(image.rgb.end(), {rgba[i], rgba[i + 1], rgba[i + 2]});
  }
  return image;
}

// libjpeg reports errors through a callback that must not return, hence the jump. It may not cross
// a frame with destructors: DecodeJpegRows holds none, its buffers belong to the caller.
struct JpegErrors {
  jpeg_error_mgr manager;  // first member: libjpeg hands its address back
  std::jmp_buf jump;
  char message[JMSG_LENGTH_MAX];
};

void OnJpegError(j_common_ptr info) {
  auto* const errors = reinterpret_cast<JpegErrors*>(info->err);
  (*info->err->format_message)(info, errors->message);
  std::longjmp(errors->jump, 1);
}

// Level -1 is a warning: the library would fill up with grey and go on. All but two harmless ones
// mean damaged data.
void OnJpegMessage(j_common_ptr info, int level) {
  const int code = info->err->msg_code;
  if (level < 0 && code != JWRN_EXTRANEOUS_DATA && code != JWRN_ADOBE_XFORM) OnJpegError(info);
}

void OnJpegOutput(j_common_ptr) {}  // nothing on stderr

bool DecodeJpegRows(absl::string_view bytes, jpeg_decompress_struct& jpeg, JpegErrors& errors,
                    Image& image) {
  if (setjmp(errors.jump) != 0) return false;
  jpeg_create_decompress(&jpeg);
  jpeg_mem_src(&jpeg, reinterpret_cast<const unsigned char*>(bytes.data()),
               static_cast<unsigned long>(bytes.size()));
  jpeg_read_header(&jpeg, TRUE);
  jpeg.out_color_space = JCS_RGB;
  image.height = jpeg.image_height;
  image.width = jpeg.image_width;
  if (image.height > kMaxPixels / std::max<int64_t>(image.width, 1)) return true;
  image.rgb.resize(static_cast<size_t>(image.height * image.width) * 3);
  jpeg_start_decompress(&jpeg);
  while (jpeg.output_scanline < jpeg.output_height) {
    JSAMPROW row = image.rgb.data() + size_t{jpeg.output_scanline} * jpeg.output_width * 3;
    jpeg_read_scanlines(&jpeg, &row, 1);
  }
  jpeg_finish_decompress(&jpeg);
  return true;
}

absl::StatusOr<Image> DecodeJpeg(absl::string_view bytes) {
  JpegErrors errors{};
  jpeg_decompress_struct jpeg{};
  jpeg.err = jpeg_std_error(&errors.manager);
  errors.manager.error_exit = OnJpegError;
  errors.manager.emit_message = OnJpegMessage;
  errors.manager.output_message = OnJpegOutput;
  Image image;
  const bool decoded = DecodeJpegRows(bytes, jpeg, errors, image);
  jpeg_destroy_decompress(&jpeg);
  if (!decoded) {
    return absl::InvalidArgumentError(absl::StrCat("damaged JPEG: ", errors.message));
  }
  if (absl::Status status = CheckSize(image.height, image.width); !status.ok()) return status;
  return image;
}

// One output position: the first input position and the weights from there on.
struct Taps {
  int64_t first = 0;
  std::vector<double> weights;
};

// Triangle filter, stretched by the scale when shrinking; weights sum to one.
std::vector<Taps> MakeTaps(int64_t from, int64_t to) {
  const double scale = static_cast<double>(from) / static_cast<double>(to);
  const double support = std::max(scale, 1.0);
  std::vector<Taps> taps(static_cast<size_t>(to));
  for (size_t i = 0; i < taps.size(); ++i) {
    const double center = (static_cast<double>(i) + 0.5) * scale;
    const int64_t first = std::max<int64_t>(0, std::llround(std::floor(center - support + 0.5)));
    const int64_t end = std::min<int64_t>(from, std::llround(std::floor(center + support + 0.5)));
    double sum = 0;
    taps[i].first = first;
    for (int64_t j = first; j < end; ++j) {
      const double distance = std::abs(static_cast<double>(j) + 0.5 - center) / support;
      taps[i].weights.push_back(std::max(0.0, 1.0 - distance));
      sum += taps[i].weights.back();
    }
    for (double& weight : taps[i].weights) weight /= sum;
  }
  return taps;
}

uint8_t RoundToByte(double value) {
  return static_cast<uint8_t>(std::clamp(std::floor(value + 0.5), 0.0, 255.0));
}

// Scales axis `columns` or rows of `image` to `to` positions.
Image Scale(const Image& image, bool columns, int64_t to) {
  const std::vector<Taps> taps = MakeTaps(columns ? image.width : image.height, to);
  Image scaled;
  scaled.height = columns ? image.height : to;
  scaled.width = columns ? to : image.width;
  scaled.rgb.resize(static_cast<size_t>(scaled.height * scaled.width) * 3);
  const int64_t stride = columns ? 3 : image.width * 3;
  for (int64_t y = 0; y < scaled.height; ++y) {
    for (int64_t x = 0; x < scaled.width; ++x) {
      const Taps& tap = taps[static_cast<size_t>(columns ? x : y)];
      const int64_t start =
          columns ? (y * image.width + tap.first) * 3 : (tap.first * image.width + x) * 3;
      for (int64_t c = 0; c < 3; ++c) {
        double value = 0;
        for (size_t k = 0; k < tap.weights.size(); ++k) {
          value += tap.weights[k] *
                   image.rgb[static_cast<size_t>(start + static_cast<int64_t>(k) * stride + c)];
        }
        scaled.rgb[static_cast<size_t>((y * scaled.width + x) * 3 + c)] = RoundToByte(value);
      }
    }
  }
  return scaled;
}

}  // namespace

absl::StatusOr<Image> DecodeImage(absl::string_view bytes) {
  if (bytes.substr(0, 4) == "\x89PNG") return DecodePng(bytes);
  if (bytes.substr(0, 2) == "\xff\xd8") return DecodeJpeg(bytes);
  return absl::InvalidArgumentError(
      absl::StrCat("neither PNG nor JPEG (", bytes.size(), " bytes)"));
}

Image ResizeAndCrop(const Image& image, int64_t size) {
  const int64_t shorter = std::min(image.height, image.width);
  const auto scaled_side = [&](int64_t side) { return side * size / shorter; };
  Image scaled = image;
  if (scaled_side(image.width) != image.width) {
    scaled = Scale(scaled, /*columns=*/true, scaled_side(image.width));
  }
  if (scaled_side(image.height) != image.height) {
    scaled = Scale(scaled, /*columns=*/false, scaled_side(image.height));
  }
  const int64_t top = (scaled.height - size) / 2;
  const int64_t left = (scaled.width - size) / 2;
  Image cropped;
  cropped.height = size;
  cropped.width = size;
  for (int64_t y = 0; y < size; ++y) {
    const auto row = scaled.rgb.begin() + ((top + y) * scaled.width + left) * 3;
    cropped.rgb.insert(cropped.rgb.end(), row, row + size * 3);
  }
  return cropped;
}

std::vector<uint8_t> ToGray(const Image& image) {
  std::vector<uint8_t> gray;
  gray.reserve(image.rgb.size() / 3);
  for (size_t i = 0; i < image.rgb.size(); i += 3) {
    const int luma = 299 * image.rgb[i] + 587 * image.rgb[i + 1] + 114 * image.rgb[i + 2];
    gray.push_back(static_cast<uint8_t>((luma + 500) / 1000));
  }
  return gray;
}

}  // namespace amc
