#include "env/backend/eie_cycles.h"

#include <algorithm>
#include <numeric>

namespace amc {

EieCycles::EieCycles(const EieCounts& counts, int64_t batch_columns, int depth)
    : elements_(counts.elements),
      batch_columns_(batch_columns),
      depth_(depth),
      counts_(counts.counts.size()) {
  for (int64_t element = 0; element < elements_; ++element) {
    const absl::Span<const uint16_t> of = counts.of(element);
    for (int64_t c = 0; c < counts.columns; ++c) counts_[c * elements_ + element] = of[c];
  }
}

int64_t EieCycles::CountBatch(absl::Span<const int64_t> broadcast) const {
  // A batch takes fewer than 2^31 cycles: each of at most 4096 columns at most 65535.
  std::vector<int32_t> free_at(elements_);
  std::vector<int32_t> last_start(depth_);  // of broadcast k, at k modulo the depth
  int32_t sent = -1;
  for (size_t k = 0; k < broadcast.size(); ++k) {
    int32_t& slot = last_start[k % depth_];
    sent = std::max(sent + 1, slot);
    slot = 0;
    const uint16_t* const counts = &counts_[broadcast[k] * elements_];
    for (int64_t element = 0; element < elements_; ++element) {
      const int32_t start = std::max(free_at[element], sent);
      slot = std::max(slot, start);
      free_at[element] = start + std::max<int32_t>(1, counts[element]);
    }
  }
  return *std::max_element(free_at.begin(), free_at.end());
}

int64_t EieCycles::Count(absl::Span<const int64_t> broadcast) const {
  int64_t cycles = 0;
  for (size_t begin = 0, end; begin < broadcast.size(); begin = end) {
    end = begin + 1;
    const int64_t batch = broadcast[begin] / batch_columns_;
    while (end < broadcast.size() && broadcast[end] / batch_columns_ == batch) ++end;
    cycles += CountBatch(broadcast.subspan(begin, end - begin));
  }
  return cycles;
}

int64_t EieCycles::Work(absl::Span<const int64_t> broadcast) const {
  int64_t work = 0;
  for (const int64_t column : broadcast) {
    const auto counts = absl::MakeSpan(counts_).subspan(column * elements_, elements_);
    work = std::accumulate(counts.begin(), counts.end(), work);
  }
  return work;
}

}  // namespace amc
