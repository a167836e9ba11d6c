// Networks built in code: for `amc train`, tests and benchmarks.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "env/graph/graph.h"

namespace amc {

struct ZooOptions {
  int64_t in_channels = 3;
  int64_t height = 32, width = 32;
  int64_t classes = 10;
  bool batch_norm = true;   // false: folded away, convolutions have a bias
  bool weightless = false;  // shapes only; otherwise He-normal weights (He et al., ICCV 2015)
  uint64_t seed = 0;
};

// Names that BuildNetwork takes: resnet20, resnet56 (He et al. 2016, section 4.2, zero-padded
// shortcuts), plain20 (the same without shortcuts), vgg16, vgg-small, vgg-fc, mobilenetv1,
// mobilenetv2 (width 1).
std::vector<std::string> ZooNames();

// Opset 13, input "input" N x C x H x W, output "logits" N x classes. InvalidArgument for an
// unknown name (the message lists the names), an input too small for the network or larger than
// 512, more than 1,024 input channels or 65,536 classes.
absl::StatusOr<Graph> BuildNetwork(absl::string_view name, const ZooOptions& options);

}  // namespace amc
