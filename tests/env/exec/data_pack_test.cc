// The pack format to the byte, and every way in which a file can be wrong.
#include "env/exec/data_pack.h"

#include <cstring>

#include "base/file.h"
#include "env/exec/pack_builder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace amc {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

PackContents SmallPack() {
  PackContents contents;
  contents.images.channels = 2;
  contents.images.height = 1;
  contents.images.width = 2;
  contents.images.pixels = {0, 255, 51, 102, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
  contents.images.labels = {1, 0, 1, 0};
  contents.images.class_names = {"cat", "big dog"};
  contents.split_sizes[0] = 1;
  contents.split_sizes[1] = 2;
  contents.split_sizes[2] = 1;
  contents.preprocessing = {{0.5F, 0.25F}, {0.5F, 0.1F}};
  contents.source = "made by hand";
  return contents;
}

constexpr char kHeader[] =
    "channels: 2\nheight: 1\nwidth: 2\nreconstruction: 1\nreward: 2\nreport: 1\n"
    "mean: 0.5 0.25\ndeviation: 0.5 0.100000001\nclass: cat\nclass: big dog\n"
    "source: made by hand\n";

class DataPackTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<DataPack>> Open(const std::string& bytes) {
    const std::string path = directory_->path() + "/small.pack";
    EXPECT_TRUE(WriteFileAtomically(path, bytes).ok());
    return DataPack::Open(path);
  }
  void ExpectRefused(const std::string& bytes, const std::string& message) {
    const auto pack = Open(bytes);
    ASSERT_EQ(pack.status().code(), absl::StatusCode::kInvalidArgument) << message;
    EXPECT_THAT(std::string(pack.status().message()), HasSubstr(message));
    EXPECT_THAT(std::string(pack.status().message()), HasSubstr("small.pack"));
  }

  absl::StatusOr<TempDirectory> directory_ = TempDirectory::Create();
};

TEST_F(DataPackTest, GoldenBytes) {
  std::string expected = "AMCPACK1";
  const auto size = static_cast<char>(std::strlen(kHeader));
  ASSERT_LT(std::strlen(kHeader), 256);
  expected += std::string({size, 0, 0, 0}) + kHeader;
  expected.resize((expected.size() + 63) / 64 * 64, '\0');
  expected += std::string("\x00\xff\x33\x66\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c", 16);
  expected += std::string("\1\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0", 16);
  EXPECT_EQ(SerializePack(SmallPack()).value(), expected);
}

TEST_F(DataPackTest, ComesBackAsItWentIn) {
  const auto pack = Open(SerializePack(SmallPack()).value());
  ASSERT_TRUE(pack.ok()) << pack.status();
  const DataPack& data = **pack;
  EXPECT_EQ(data.channels(), 2);
  EXPECT_EQ(data.height(), 1);
  EXPECT_EQ(data.width(), 2);
  EXPECT_EQ(data.size(Split::kReward), 2);
  EXPECT_THAT(data.class_names(), ElementsAre("cat", "big dog"));
  EXPECT_THAT(data.labels(Split::kReward), ElementsAre(0, 1));
  EXPECT_THAT(data.Pixels(Split::kReward, 1, 1), ElementsAre(5, 6, 7, 8));
  EXPECT_THAT(data.Pixels(Split::kReport, 0, 1), ElementsAre(9, 10, 11, 12));
  EXPECT_THAT(data.preprocessing().mean, ElementsAre(0.5F, 0.25F));
}

TEST_F(DataPackTest, PreprocessesByChannel) {
  const auto pack = Open(SerializePack(SmallPack()).value());
  ASSERT_TRUE(pack.ok()) << pack.status();
  const std::vector<float> images = (*pack)->Images(Split::kReconstruction, 0, 1);
  ASSERT_EQ(images.size(), 4);
  EXPECT_FLOAT_EQ(images[0], -1);    // (0 / 255 - 0.5) / 0.5
  EXPECT_FLOAT_EQ(images[1], 1);     // (255 / 255 - 0.5) / 0.5
  EXPECT_FLOAT_EQ(images[2], -0.5);  // (51 / 255 - 0.25) / 0.1
  EXPECT_FLOAT_EQ(images[3], 1.5);   // (102 / 255 - 0.25) / 0.1
}

TEST_F(DataPackTest, RangesStopAtTheSplit) {
  const auto pack = Open(SerializePack(SmallPack()).value());
  ASSERT_TRUE(pack.ok()) << pack.status();
  EXPECT_EQ((*pack)->Pixels(Split::kReward, 1, 100).size(), 4);
  EXPECT_EQ((*pack)->Images(Split::kReward, 2, 1).size(), 0);
}

TEST_F(DataPackTest, EveryTruncationIsRefused) {
  const std::string bytes = SerializePack(SmallPack()).value();
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_EQ(Open(bytes.substr(0, size)).status().code(), absl::StatusCode::kInvalidArgument)
        << size << " bytes";
  }
  ExpectRefused(bytes + "x", "its header asks for");
}

TEST_F(DataPackTest, EditedHeadersAreRefused) {
  const std::string bytes = SerializePack(SmallPack()).value();
  const auto edit = [&](const std::string& from, const std::string& to) {
    std::string edited = bytes;
    edited.replace(edited.find(from), from.size(), to);
    return edited;
  };
  ExpectRefused(edit("AMCPACK1", "AMCPACK2"), "not a data pack");
  ExpectRefused(edit("channels: 2", "channels: 3"), "preprocessing has 2 means");
  ExpectRefused(edit("channels: 2", "channels: x"), "\"x\" is not a number");
  ExpectRefused(edit("height: 1", "height: 0"), "height is 0");
  ExpectRefused(edit("height: 1", "height: 9"), "its header asks for");
  ExpectRefused(edit("reward: 2", "reward: 9"), "its header asks for");
  ExpectRefused(edit("class: cat", "clans: cat"), "unknown header line");
  ExpectRefused(edit("class: cat", "class: c\xE9t"), "not UTF-8 from byte 1 on: c\xEF\xBF\xBDt");
  ExpectRefused(edit("0.100000001", "-.100000001"), "deviation -0.1");
  ExpectRefused(edit("0.5 0.25", "nan 0.25"), "mean nan");
  std::string padding = bytes;
  padding[12 + std::strlen(kHeader)] = 'x';
  ExpectRefused(padding, "padding is not zero");
  std::string label = bytes;
  label[label.size() - 4] = 2;
  ExpectRefused(label, "label 2 of image 3 is outside 0..1 (2 classes)");
}

TEST_F(DataPackTest, MissingFile) {
  const auto pack = DataPack::Open(directory_->path() + "/none.pack");
  EXPECT_EQ(pack.status().code(), absl::StatusCode::kNotFound);
}

TEST_F(DataPackTest, InconsistentContentsAreNotWritten) {
  PackContents contents = SmallPack();
  contents.images.labels[2] = 7;
  EXPECT_THAT(std::string(SerializePack(contents).status().message()),
              HasSubstr("label 7 of image 2"));
  contents = SmallPack();
  contents.split_sizes[1] = 3;
  EXPECT_THAT(std::string(SerializePack(contents).status().message()),
              HasSubstr("ask for 5 images, there are 4"));
  contents = SmallPack();
  contents.images.pixels.pop_back();
  EXPECT_THAT(std::string(SerializePack(contents).status().message()),
              HasSubstr("need 16 bytes of pixels, there are 15"));
  contents = SmallPack();
  contents.images.class_names[1] = "ch\xE8vre";
  EXPECT_THAT(std::string(SerializePack(contents).status().message()),
              HasSubstr("not UTF-8 from byte 2 on: ch\xEF\xBF\xBDvre"));
}

// Image i of `size` one-pixel images has the pixel value first + i.
ImageSet Numbered(int64_t size, int first) {
  ImageSet set;
  set.channels = set.height = set.width = 1;
  set.class_names = {"0", "1"};
  for (int64_t i = 0; i < size; ++i) {
    set.pixels.push_back(static_cast<uint8_t>(first + i));
    set.labels.push_back(static_cast<int32_t>(i % 2));
  }
  return set;
}

TEST(PackBuilderTest, SplitsAreDisjointAndLabelsGoWithTheirImages) {
  PackOptions options;
  options.reconstruction_images = 10;
  const PackContents contents = BuildPack(Numbered(40, 0), Numbered(30, 100), options).value();
  EXPECT_THAT(contents.split_sizes, ElementsAre(10, 15, 15));
  std::vector<uint8_t> pixels = contents.images.pixels;
  for (size_t i = 0; i < pixels.size(); ++i) {
    EXPECT_EQ(pixels[i] >= 100, i >= 10) << "reconstruction comes from training images alone";
    EXPECT_EQ(contents.images.labels[i], pixels[i] % 2);
  }
  std::sort(pixels.begin(), pixels.end());
  EXPECT_EQ(std::adjacent_find(pixels.begin(), pixels.end()), pixels.end()) << "an image twice";
}

TEST(PackBuilderTest, OneSetGivesAllThreeSplits) {
  const PackContents contents = BuildPack(Numbered(40, 0), ImageSet(), {}).value();
  EXPECT_THAT(contents.split_sizes, ElementsAre(20, 10, 10));
  std::vector<uint8_t> pixels = contents.images.pixels;
  std::sort(pixels.begin(), pixels.end());
  EXPECT_EQ(std::adjacent_find(pixels.begin(), pixels.end()), pixels.end()) << "an image twice";
}

TEST(PackBuilderTest, SeedDecides) {
  PackOptions options;
  const auto pixels = [&](uint64_t seed) {
    options.seed = seed;
    return BuildPack(Numbered(40, 0), Numbered(30, 100), options).value().images.pixels;
  };
  EXPECT_EQ(pixels(1), pixels(1));
  EXPECT_NE(pixels(1), pixels(2));
}

TEST(PackBuilderTest, MeasuresPreprocessingOfTrainingImages) {
  ImageSet train = Numbered(4, 0);
  train.pixels = {0, 0, 255, 255};
  const Preprocessing measured = MeasurePreprocessing(train);
  EXPECT_THAT(measured.mean, ElementsAre(0.5F));
  EXPECT_THAT(measured.deviation, ElementsAre(0.5F));
  train.pixels = {9, 9, 9, 9};
  EXPECT_THAT(MeasurePreprocessing(train).deviation, ElementsAre(1.0F));
}

TEST(PackBuilderTest, RefusesMoreThanThereIs) {
  PackOptions options;
  options.reward_images = 31;
  EXPECT_THAT(std::string(BuildPack(Numbered(40, 0), Numbered(30, 0), options).status().message()),
              HasSubstr("split reward: 31 images asked for, 30 are there"));
  options.reward_images = 30;
  EXPECT_THAT(std::string(BuildPack(Numbered(40, 0), Numbered(30, 0), options).status().message()),
              HasSubstr("split report: 0 images asked for, 0 are there"));
}

}  // namespace
}  // namespace amc
