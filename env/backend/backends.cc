#include "env/backend/backends.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "env/backend/cambricon_x.h"
#include "env/backend/cnvlutin.h"
#include "env/backend/compressed.h"
#include "env/backend/eie.h"
#include "env/backend/nvidia24.h"
#include "env/backend/torchsparse.h"
#include "env/backend/xnnpack.h"

namespace amc {
namespace {

const std::vector<const Backend*>& All() {
  static const auto* const all = new std::vector<const Backend*>{
      &CsrBackend(),      &CscBackend(),         &BsrBackend(),
      &Nvidia24Backend(), &EieBackend(),         &CambriconXBackend(),
      &CnvlutinBackend(), &TorchSparseBackend(), &XnnpackBackend(),
  };
  return *all;
}

}  // namespace

std::vector<std::string> BackendNames() {
  std::vector<std::string> names;
  for (const Backend* backend : All()) names.emplace_back(backend->name());
  return names;
}

absl::StatusOr<const Backend*> FindBackend(absl::string_view name) {
  for (const Backend* backend : All()) {
    if (backend->name() == name) return backend;
  }
  return absl::InvalidArgumentError(absl::StrCat("there is no backend \"", name, "\"; there are ",
                                                 absl::StrJoin(BackendNames(), ", ")));
}

}  // namespace amc
