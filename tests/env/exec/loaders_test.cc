// IDX, CIFAR and image folders: what is read, and what each loader says about damaged files.
#include <png.h>
#include <zlib.h>

#include <cstdio>
#include <cstdlib>
#include <string>
//
#include <jpeglib.h>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "env/exec/cifar.h"
#include "env/exec/data_source.h"
#include "env/exec/idx.h"
#include "env/exec/image_codec.h"
#include "env/exec/image_folder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace amc {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string Bytes(std::initializer_list<int> values) {
  std::string bytes;
  for (const int value : values) bytes.push_back(static_cast<char>(value));
  return bytes;
}

std::string Gzip(const std::string& bytes) {
  z_stream stream{};
  deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  std::string out(1000 + bytes.size(), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::string EncodePng(int width, int height, const std::vector<uint8_t>& pixels, int format) {
  png_image png{};
  png.version = PNG_IMAGE_VERSION;
  png.width = static_cast<png_uint_32>(width);
  png.height = static_cast<png_uint_32>(height);
  png.format = static_cast<png_uint_32>(format);
  png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(png);
  std::string bytes(size, '\0');
  png_image_write_to_memory(&png, bytes.data(), &size, 0, pixels.data(), 0, nullptr);
  bytes.resize(size);
  return bytes;
}

std::string EncodeJpeg(int width, int height, std::vector<uint8_t> rgb) {
  jpeg_compress_struct jpeg{};
  jpeg_error_mgr errors{};
  jpeg.err = jpeg_std_error(&errors);
  jpeg_create_compress(&jpeg);
  unsigned char* buffer = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&jpeg, &buffer, &size);
  jpeg.image_width = static_cast<JDIMENSION>(width);
  jpeg.image_height = static_cast<JDIMENSION>(height);
  jpeg.input_components = 3;
  jpeg.in_color_space = JCS_RGB;
  jpeg_set_defaults(&jpeg);
  jpeg_set_quality(&jpeg, 95, TRUE);
  jpeg_start_compress(&jpeg, TRUE);
  while (jpeg.next_scanline < jpeg.image_height) {
    JSAMPROW row = rgb.data() + size_t{jpeg.next_scanline} * static_cast<size_t>(width) * 3;
    jpeg_write_scanlines(&jpeg, &row, 1);
  }
  jpeg_finish_compress(&jpeg);
  std::string bytes(reinterpret_cast<char*>(buffer), size);
  jpeg_destroy_compress(&jpeg);
  std::free(buffer);
  return bytes;
}

std::vector<uint8_t> Filled(int width, int height, std::vector<uint8_t> rgb) {
  std::vector<uint8_t> pixels;
  for (int i = 0; i < width * height; ++i) pixels.insert(pixels.end(), rgb.begin(), rgb.end());
  return pixels;
}

class LoadersTest : public ::testing::Test {
 protected:
  std::string Write(const std::string& name, const std::string& bytes) {
    const std::string path = absl::StrCat(directory_->path(), "/", name);
    EXPECT_TRUE(MakeDirectories(path.substr(0, path.rfind('/'))).ok());
    EXPECT_TRUE(WriteFileAtomically(path, bytes).ok());
    return path;
  }
  const std::string& root() const { return directory_->path(); }

  template <typename T>
  void ExpectError(const absl::StatusOr<T>& result, const std::vector<std::string>& parts) {
    EXPECT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument) << result.status();
    for (const std::string& part : parts) {
      EXPECT_THAT(std::string(result.status().message()), HasSubstr(part));
    }
  }

  absl::StatusOr<TempDirectory> directory_ = TempDirectory::Create();
};

// Three images of 1 x 2 pixels.
const std::string kIdxImages =
    Bytes({0, 0, 8, 3, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, 10, 11, 12, 13, 14, 255});
const std::string kIdxLabels = Bytes({0, 0, 8, 1, 0, 0, 0, 3, 2, 0, 1});

TEST_F(LoadersTest, IdxPlainAndCompressed) {
  for (const bool compressed : {false, true}) {
    const auto set = LoadIdx(Write("images", compressed ? Gzip(kIdxImages) : kIdxImages),
                             Write("labels", compressed ? Gzip(kIdxLabels) : kIdxLabels));
    ASSERT_TRUE(set.ok()) << set.status();
    EXPECT_EQ(set->channels, 1);
    EXPECT_EQ(set->height, 1);
    EXPECT_EQ(set->width, 2);
    EXPECT_THAT(set->pixels, ElementsAre(10, 11, 12, 13, 14, 255));
    EXPECT_THAT(set->labels, ElementsAre(2, 0, 1));
    EXPECT_THAT(set->class_names, ElementsAre("0", "1", "2"));
  }
}

TEST_F(LoadersTest, EveryTruncatedIdxFileIsRefused) {
  const std::string labels = Write("labels", kIdxLabels);
  const std::string compressed = Gzip(kIdxImages);
  for (size_t size = 0; size < kIdxImages.size(); ++size) {
    ExpectError(LoadIdx(Write("images", kIdxImages.substr(0, size)), labels), {"images", "offset"});
  }
  for (size_t size = 0; size < compressed.size(); ++size) {
    ExpectError(LoadIdx(Write("images", compressed.substr(0, size)), labels), {"images", "offset"});
  }
  ExpectError(LoadIdx(Write("images", kIdxImages.substr(0, 20)), labels),
              {"offset 20: the file ends after 4 of 6 elements"});
}

TEST_F(LoadersTest, DamagedIdxFilesAreRefused) {
  const std::string labels = Write("labels", kIdxLabels);
  ExpectError(LoadIdx(Write("images", kIdxImages + "x"), labels), {"offset 22: more bytes"});
  ExpectError(LoadIdx(Write("images", "PK" + kIdxImages), labels), {"not an IDX file"});
  ExpectError(LoadIdx(labels, labels), {"offset 3: 1 dimensions, want 3"});
  std::string edited = kIdxImages;
  edited[2] = 0x0d;
  ExpectError(LoadIdx(Write("images", edited), labels), {"offset 2: element type 13"});
  edited = kIdxImages;
  for (size_t i = 4; i < 16; ++i) edited[i] = static_cast<char>(0xff);  // 2^96 pixels
  ExpectError(LoadIdx(Write("images", edited), labels), {"dimension 1 is 4294967295"});
  ExpectError(
      LoadIdx(Write("images", kIdxImages), Write("labels", Bytes({0, 0, 8, 1, 0, 0, 0, 2, 2, 0}))),
      {"3 images", "2 labels"});
  EXPECT_EQ(LoadIdx(root() + "/none", labels).status().code(), absl::StatusCode::kNotFound);
}

std::string CifarRecord(std::initializer_list<int> labels, int pixel) {
  return Bytes(labels) + std::string(3 * 32 * 32 - 1, static_cast<char>(pixel)) + "\x07";
}

TEST_F(LoadersTest, CifarRecords) {
  const std::string ten = Write("data_batch_1.bin", CifarRecord({3}, 1) + CifarRecord({9}, 2));
  const auto set = LoadCifar(CifarKind::kCifar10, {ten, ten}, {});
  ASSERT_TRUE(set.ok()) << set.status();
  EXPECT_THAT(set->labels, ElementsAre(3, 9, 3, 9));
  EXPECT_EQ(set->pixels.size(), 4 * 3072);
  EXPECT_EQ(set->pixels[3071], 7);
  EXPECT_EQ(set->pixels[3072], 2);
  const auto hundred =
      LoadCifar(CifarKind::kCifar100, {Write("train.bin", CifarRecord({19, 99}, 1))}, {});
  ASSERT_TRUE(hundred.ok()) << hundred.status();
  EXPECT_THAT(hundred->labels, ElementsAre(99));
}

TEST_F(LoadersTest, DamagedCifarFilesAreRefused) {
  const auto load = [&](const std::string& bytes) {
    return LoadCifar(CifarKind::kCifar10, {Write("batch.bin", bytes)}, {});
  };
  const std::string record = CifarRecord({3}, 1);
  ExpectError(load(record + record.substr(0, 99)),
              {"batch.bin", "offset 3073", "99 bytes, want 3073"});
  ExpectError(load(""), {"batch.bin"});
  ExpectError(load(record + CifarRecord({10}, 1)),
              {"batch.bin", "offset 3073", "label 10 of image 1", "0..9 (10 classes)"});
  EXPECT_FALSE(LoadCifar(CifarKind::kCifar10, {}, {"one"}).ok());
}

TEST_F(LoadersTest, FolderOfPngAndJpeg) {
  Write("data/b_dog/2.png", EncodePng(2, 1, {1, 2, 3, 4, 5, 6}, PNG_FORMAT_RGB));
  Write("data/b_dog/1.JPG", EncodeJpeg(2, 1, Filled(2, 1, {50, 50, 50})));
  Write("data/a_cat/x.png", EncodePng(2, 1, {9, 8}, PNG_FORMAT_GRAY));
  Write("data/a_cat/notes.txt", "not an image");
  const auto set = LoadImageFolder(root() + "/data", {});
  ASSERT_TRUE(set.ok()) << set.status();
  EXPECT_THAT(set->class_names, ElementsAre("a_cat", "b_dog"));
  EXPECT_THAT(set->labels, ElementsAre(0, 1, 1));
  EXPECT_THAT(set->pixels, ElementsAre(9, 8, 9, 8, 9, 8,        // grey in three channels
                                       50, 50, 50, 50, 50, 50,  // 1.JPG
                                       1, 4, 2, 5, 3, 6));      // planes of 2.png
  const auto gray = LoadImageFolder(root() + "/data", {.grayscale = true});
  ASSERT_TRUE(gray.ok()) << gray.status();
  EXPECT_EQ(gray->channels, 1);
  EXPECT_THAT(gray->pixels, ElementsAre(9, 8, 50, 50, 2, 5));
}

TEST_F(LoadersTest, AlphaIsDropped) {
  const auto image = DecodeImage(EncodePng(1, 1, {10, 20, 30, 0}, PNG_FORMAT_RGBA));
  ASSERT_TRUE(image.ok()) << image.status();
  EXPECT_THAT(image->rgb, ElementsAre(10, 20, 30));
}

TEST_F(LoadersTest, JpegColoursSurvive) {
  const auto image = DecodeImage(EncodeJpeg(16, 8, Filled(16, 8, {200, 100, 30})));
  ASSERT_TRUE(image.ok()) << image.status();
  ASSERT_EQ(image->rgb.size(), 16 * 8 * 3);
  for (size_t i = 0; i < image->rgb.size(); i += 3) {
    EXPECT_NEAR(image->rgb[i], 200, 3);
    EXPECT_NEAR(image->rgb[i + 1], 100, 3);
    EXPECT_NEAR(image->rgb[i + 2], 30, 3);
  }
}

TEST_F(LoadersTest, DamagedImagesAreRefusedByFile) {
  std::vector<uint8_t> noise;
  for (int i = 0; i < 32 * 32 * 3; ++i) noise.push_back(static_cast<uint8_t>(i * 7919 >> 3));
  for (const auto& [name, bytes] :
       {std::pair<std::string, std::string>{"bad.jpg", EncodeJpeg(32, 32, noise)},
        {"bad.png", EncodePng(32, 32, noise, PNG_FORMAT_RGB)}}) {
    ASSERT_TRUE(DecodeImage(bytes).ok());
    for (const double part : {0.0, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99}) {
      const auto size = static_cast<size_t>(part * static_cast<double>(bytes.size()));
      const std::string folder = absl::StrCat("damaged_", name, "_", part);
      Write(folder + "/c/" + name, bytes.substr(0, size));
      ExpectError(LoadImageFolder(root() + "/" + folder, {}), {"/c/" + name});
    }
  }
}

TEST_F(LoadersTest, FoldersWithoutImagesAreRefused) {
  ASSERT_TRUE(MakeDirectories(root() + "/empty").ok());
  ExpectError(LoadImageFolder(root() + "/empty", {}), {"/empty", "no class folders"});
  ASSERT_TRUE(MakeDirectories(root() + "/hollow/cat").ok());
  ExpectError(LoadImageFolder(root() + "/hollow", {}), {"/hollow/cat", "no .png"});
  EXPECT_EQ(LoadImageFolder(root() + "/none", {}).status().code(), absl::StatusCode::kNotFound);
}

// Before any image is decoded.
TEST_F(LoadersTest, ClassFoldersAreNamedInUtf8) {
  Write("data/h\xC3\xA9ron/1.png", "not decoded");
  Write("data/h\xE9ron/1.png", "not decoded");
  ExpectError(LoadImageFolder(root() + "/data", {}),
              {"/data", "not UTF-8 from byte 1 on: h\xEF\xBF\xBDron"});
}

TEST_F(LoadersTest, MixedSizesNeedAResize) {
  Write("data/c/1.png", EncodePng(4, 2, Filled(4, 2, {9, 9, 9}), PNG_FORMAT_RGB));
  Write("data/c/2.png", EncodePng(3, 3, Filled(3, 3, {7, 7, 7}), PNG_FORMAT_RGB));
  ExpectError(LoadImageFolder(root() + "/data", {}),
              {"2.png", "3x3 pixels, the first image has 4x2"});
  const auto set = LoadImageFolder(root() + "/data", {.size = 2});
  ASSERT_TRUE(set.ok()) << set.status();
  EXPECT_EQ(set->height, 2);
  EXPECT_EQ(set->width, 2);
  EXPECT_EQ(set->pixels[0], 9);
  EXPECT_EQ(set->pixels[12], 7);
}

TEST_F(LoadersTest, LimitTakesASeededChoice) {
  for (int i = 0; i < 20; ++i) {
    Write(absl::StrCat("data/c/", i, ".png"),
          EncodePng(1, 1, Filled(1, 1, {static_cast<uint8_t>(i), 0, 0}), PNG_FORMAT_RGB));
  }
  const auto pixels = [&](uint64_t seed) {
    return LoadImageFolder(root() + "/data", {.max_images = 8, .seed = seed}).value().pixels;
  };
  EXPECT_EQ(pixels(1).size(), 24);
  EXPECT_EQ(pixels(1), pixels(1));
  EXPECT_NE(pixels(1), pixels(2));
}

TEST(ImageCodecTest, ResizesAsPilDoes) {
  // PIL: Image.fromarray(uint8 [[0, 100, 200, 255]] * 2).resize((2, 1), BILINEAR) is 71, 209.
  Image image;
  image.height = 2;
  image.width = 4;
  for (int row = 0; row < 2; ++row) {
    for (const uint8_t value : {0, 100, 200, 255}) image.rgb.insert(image.rgb.end(), 3, value);
  }
  const Image small = ResizeAndCrop(image, 1);  // 2 x 1, then the middle: the left one
  EXPECT_THAT(small.rgb, ElementsAre(71, 71, 71));
  const Image same = ResizeAndCrop(image, 2);  // the size it has: cropped only
  EXPECT_THAT(same.rgb, ElementsAre(100, 100, 100, 200, 200, 200, 100, 100, 100, 200, 200, 200));
}

TEST_F(LoadersTest, SourcesKnowTheirFileNames) {
  Write("idx/train-images-idx3-ubyte.gz", Gzip(kIdxImages));
  Write("idx/train-labels-idx1-ubyte", kIdxLabels);
  Write("idx/t10k-images-idx3-ubyte", kIdxImages);
  Write("idx/t10k-labels-idx1-ubyte", kIdxLabels);
  const auto idx = LoadDataSource(DataFormat::kIdx, root() + "/idx", {});
  ASSERT_TRUE(idx.ok()) << idx.status();
  EXPECT_EQ(idx->train.size(), 3);
  EXPECT_EQ(idx->test.size(), 3);

  for (int i = 1; i <= 5; ++i) {
    Write(absl::StrCat("cifar/data_batch_", i, ".bin"), CifarRecord({i}, i));
  }
  Write("cifar/test_batch.bin", CifarRecord({0}, 0));
  Write("cifar/batches.meta.txt", "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n");
  const auto cifar = LoadDataSource(DataFormat::kCifar, root() + "/cifar", {});
  ASSERT_TRUE(cifar.ok()) << cifar.status();
  EXPECT_THAT(cifar->train.labels, ElementsAre(1, 2, 3, 4, 5));
  EXPECT_EQ(cifar->test.class_names[9], "j");

  const std::string png = EncodePng(1, 1, {1, 2, 3}, PNG_FORMAT_RGB);
  Write("folder/train/cat/1.png", png);
  Write("folder/train/dog/1.png", png);
  Write("folder/val/cat/1.png", png);
  Write("folder/val/dog/1.png", png);
  const auto folder = LoadDataSource(DataFormat::kFolder, root() + "/folder", {});
  ASSERT_TRUE(folder.ok()) << folder.status();
  EXPECT_EQ(folder->test.size(), 2);
  Write("folder/val/cow/1.png", png);
  ExpectError(LoadDataSource(DataFormat::kFolder, root() + "/folder", {}),
              {"class \"cow\" has test images, but no training images"});
  Write("lacking/train/cat/1.png", png);
  Write("lacking/train/dog/1.png", png);
  Write("lacking/test/dog/1.png", png);
  ExpectError(LoadDataSource(DataFormat::kFolder, root() + "/lacking", {}),
              {"class \"cat\" has training images, but no test images"});
  Write("untrained/val/cat/1.png", png);
  ExpectError(LoadDataSource(DataFormat::kFolder, root() + "/untrained", {}),
              {"has val/ but no train/"});
}

TEST_F(LoadersTest, TestLabelsBeyondTheTrainingClassesAreRefused) {
  Write("train-images-idx3-ubyte", kIdxImages);
  Write("train-labels-idx1-ubyte", kIdxLabels);
  Write("t10k-images-idx3-ubyte", kIdxImages);
  Write("t10k-labels-idx1-ubyte", Bytes({0, 0, 8, 1, 0, 0, 0, 3, 2, 0, 3}));
  ExpectError(LoadDataSource(DataFormat::kIdx, root(), {}),
              {"class \"3\" has test images, but no training images"});
}

}  // namespace
}  // namespace amc
