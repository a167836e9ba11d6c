#include "env/exec/prefix_caches.h"

#include <algorithm>
#include <utility>

#include "base/status_macros.h"
#include "env/exec/prefix_plan.h"

namespace amc {

PrefixCaches::PrefixCaches(const Graph& graph, std::vector<size_t> cuts, const DataPack& pack,
                           Split split, const ExecOptions& options, int64_t max_bytes)
    : graph_(graph),
      cuts_(std::move(cuts)),
      pack_(pack),
      split_(split),
      options_(options),
      max_bytes_(max_bytes) {}

absl::StatusOr<PrefixStart> PrefixCaches::StartOf(const Graph& changed, int64_t images) {
  const auto found = std::find_if(caches_.begin(), caches_.end(),
                                  [&](const auto& cache) { return cache->images() == images; });
  if (found != caches_.end()) {
    AMC_ASSIGN_OR_RETURN(const PrefixStart start, (*found)->StartOf(changed));
    if (start.cache != nullptr) std::rotate(found, found + 1, caches_.end());
    return start;
  }
  auto cache =
      std::make_unique<PrefixCache>(graph_, cuts_, pack_, split_, images, options_, max_bytes_);
  // What is kept gives way only to what can be used.
  if (cache->plan().StartWithin(CommonPrefix(graph_, changed)) == 0) return PrefixStart();
  while (!caches_.empty() && bytes() > max_bytes_ - cache->plan().bytes()) {
    caches_.erase(caches_.begin());
  }
  caches_.push_back(std::move(cache));
  return caches_.back()->StartOf(changed);
}

int64_t PrefixCaches::bytes() const {
  int64_t bytes = 0;
  for (const auto& cache : caches_) bytes += cache->plan().bytes();
  return bytes;
}

}  // namespace amc
