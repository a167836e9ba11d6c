#include "env/measure/measure_networks.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace amc {

absl::StatusOr<std::vector<NetworkTime>> MeasureNetworks(
    Runtime& runtime, absl::Span<const Graph> networks, const MeasureOptions& options,
    const std::function<void(size_t done, size_t total)>& progress) {
  if (networks.empty()) return std::vector<NetworkTime>();
  AMC_ASSIGN_OR_RETURN(Sampler sampler, MakeSampler(runtime, networks[0], options.sampler));
  std::vector<NetworkTime> times(networks.size());
  size_t measured = 0;  // networks, once for either half
  const auto report = [&](size_t done) {
    if (progress != nullptr) progress(measured + done, 2 * networks.size());
  };
  for (const bool second : {false, true}) {
    for (size_t begin = 0, end = 0; begin < networks.size(); begin = end) {
      std::vector<std::unique_ptr<LoadedNetwork>> loaded;
      std::vector<SampledItem> items;
      int64_t bytes = 0;
      while (end < networks.size() && (end == begin || bytes < options.max_weight_bytes) &&
             static_cast<int64_t>(items.size()) < options.max_networks) {
        auto network = runtime.Load(networks[end]);
        if (!network.ok()) {
          return Annotate(network.status(), absl::StrCat("network ", end, " of ", networks.size()));
        }
        loaded.push_back(*std::move(network));
        items.push_back({[one = loaded.back().get()](int64_t runs) { return one->Time(runs); }});
        bytes += WeightBytes(networks[end++]);
      }
      AMC_ASSIGN_OR_RETURN(const std::vector<Sampled> sampled,
                           sampler.Measure(items, [&](size_t stable, size_t) { report(stable); }));
      for (size_t i = 0; i < sampled.size(); ++i) {
        NetworkTime& time = times[begin + i];
        const double other = time.median_us;
        const double both = second ? (other + sampled[i].median) / 2 : sampled[i].median;
        if (second) time.repeatability = std::abs(other - sampled[i].median) / both;
        time.median_us = both;
        time.spread_us = std::max(time.spread_us, sampled[i].spread);
        time.stable = sampled[i].stable && (!second || time.stable);
      }
      measured += sampled.size();
    }
  }
  const double reference_us = ReferenceUs(runtime, sampler);
  for (NetworkTime& time : times) {
    time.median_us *= reference_us;
    time.spread_us *= reference_us;
  }
  report(0);
  return times;
}

}  // namespace amc
