// The binary version of CIFAR-10 and CIFAR-100 (Krizhevsky 2009): records of one label byte
// (CIFAR-100: a coarse one, then the fine one that counts) and 3 x 32 x 32 pixels, planes in the
// order red, green, blue.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "env/exec/data_pack.h"

namespace amc {

enum class CifarKind { kCifar10, kCifar100 };

// The records of all `paths`, in that order. `class_names` has 10 or 100 names, or none ("0", "1",
// ...). InvalidArgument names the file and the offset of a record that is cut short or whose label
// is out of range.
absl::StatusOr<ImageSet> LoadCifar(CifarKind kind, const std::vector<std::string>& paths,
                                   std::vector<std::string> class_names);

}  // namespace amc
