// Data sets as they lie on disk: which files of a folder are the training and the test images.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "env/exec/data_pack.h"
#include "env/exec/image_folder.h"

namespace amc {

enum class DataFormat {
  kIdx,     // DIR/train-images-idx3-ubyte[.gz], train-labels-idx1-ubyte[.gz], t10k-...
  kCifar,   // DIR/data_batch_1.bin to data_batch_5.bin, test_batch.bin; or train.bin, test.bin
  kFolder,  // DIR/train/CLASS/*, DIR/test/CLASS/* (or DIR/val); or DIR/CLASS/*, training only
};
absl::StatusOr<DataFormat> ParseDataFormat(absl::string_view name);  // "idx", "cifar", "folder"

struct TrainTest {
  ImageSet train;
  ImageSet test;  // empty if the source has none
};

// `options` matter to kFolder alone; max_images holds for train and test each. InvalidArgument when
// files are missing or damaged, or when train and test differ in size or classes.
absl::StatusOr<TrainTest> LoadDataSource(DataFormat format, const std::string& path,
                                         const ImageFolderOptions& options);

}  // namespace amc
