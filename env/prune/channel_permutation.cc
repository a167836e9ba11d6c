#include "env/prune/channel_permutation.h"

#include <algorithm>
#include <array>
#include <functional>
#include <iterator>
#include <map>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/interrupt.h"
#include "base/status_macros.h"

namespace amc {
namespace {

constexpr int64_t kMaxM = 64;
constexpr double kLeastGain = 1e-7;  // of all that is kept: below it is rounding

absl::Status CheckReaders(absl::Span<const StripedReader> readers, int64_t channels,
                          const PermutationOptions& options) {
  if (options.n < 1 || options.n >= options.m || options.m > kMaxM) {
    return absl::InvalidArgumentError(
        absl::StrCat("permutation for ", options.n, ":", options.m, ", want 1 <= N < M <= 64"));
  }
  for (const StripedReader& reader : readers) {
    const auto columns = static_cast<int64_t>(reader.channel_of_column.size());
    const auto values = static_cast<int64_t>(reader.magnitudes.size());
    if (columns % options.m != 0 || values != columns * reader.rows) {
      return absl::InvalidArgumentError(absl::StrCat("permutation: a reader of ", columns,
                                                     " columns, ", reader.rows, " rows, ", values,
                                                     " values and stripes of ", options.m));
    }
    std::vector<int64_t> times(static_cast<size_t>(channels), 0);
    for (const int32_t channel : reader.channel_of_column) {
      if (channel == StripedReader::kFixed) continue;
      if (channel < 0 || channel >= channels) {
        return absl::InvalidArgumentError(
            absl::StrCat("permutation: channel ", channel, " of ", channels));
      }
      ++times[static_cast<size_t>(channel)];
    }
    if (const auto [least, most] = std::minmax_element(times.begin(), times.end());
        least != most && *least != *most) {
      return absl::InvalidArgumentError(
          absl::StrCat("permutation: a channel has ", *least, " columns, another one ", *most));
    }
  }
  return absl::OkStatus();
}

// The sum over rows of the two largest of four.
double SumTwoOfFour(const float* const* columns, int64_t rows) {
  constexpr int64_t kLanes = 16;
  const float *a = columns[0], *b = columns[1], *c = columns[2], *d = columns[3];
  const auto two_largest = [&](int64_t r) {
    const float high_ab = std::max(a[r], b[r]), low_ab = std::min(a[r], b[r]);
    const float high_cd = std::max(c[r], d[r]), low_cd = std::min(c[r], d[r]);
    return std::max(high_ab + high_cd, std::max(high_ab + low_ab, high_cd + low_cd));
  };
  std::array<float, kLanes> sums{};
  int64_t row = 0;
  for (; row + kLanes <= rows; row += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      sums[static_cast<size_t>(lane)] += two_largest(row + lane);
    }
  }
  double sum = std::accumulate(sums.begin(), sums.end(), 0.0);
  for (; row < rows; ++row) sum += two_largest(row);
  return sum;
}

class Arranger {
 public:
  Arranger(absl::Span<const StripedReader> readers, int64_t channels,
           const PermutationOptions& options)
      : readers_(readers), options_(options), stripes_of_(static_cast<size_t>(channels)) {
    order_.resize(static_cast<size_t>(channels));
    std::iota(order_.begin(), order_.end(), 0);
    for (size_t r = 0; r < readers.size(); ++r) ListStripes(r);
    for (std::vector<size_t>& stripes : stripes_of_) {
      std::sort(stripes.begin(), stripes.end());
      stripes.erase(std::unique(stripes.begin(), stripes.end()), stripes.end());
    }
  }

  absl::StatusOr<ChannelPermutation> Run() {
    for (Stripe& stripe : stripes_) stripe.kept = Kept(stripe);
    ChannelPermutation result;
    result.kept_before = Total();
    const std::vector<std::vector<int32_t>> sets = InterchangeableSets();
    const double least = kLeastGain * result.kept_before;
    for (bool gained = true; gained && work_ < options_.max_work;) {
      gained = false;
      for (size_t a = 0; a < sets.size(); ++a) {
        for (size_t b = a + 1; b < sets.size() && work_ < options_.max_work; ++b) {
          AMC_RETURN_IF_ERROR(CheckInterrupt());
          gained |= CarryOutBest(sets[a], sets[b], least);
        }
      }
    }
    result.order = order_;
    result.kept_after = Total();
    return result;
  }

 private:
  struct Column {
    int32_t position = StripedReader::kFixed;  // whose channel stands here
    size_t nth = 0;                            // of the columns that a channel has
    const float* fixed = nullptr;
  };
  struct Stripe {
    size_t reader = 0;
    std::vector<Column> columns = {};  // M of them
    double kept = 0;
  };
  using Exchange = std::vector<std::pair<int32_t, int32_t>>;  // of positions

  // Leaves out stripes that hold the columns of one position alone: they keep what they keep.
  void ListStripes(size_t r) {
    const StripedReader& reader = readers_[r];
    std::vector<std::vector<const float*>>& columns = columns_.emplace_back(stripes_of_.size());
    Stripe stripe{.reader = r};
    for (size_t c = 0; c < reader.channel_of_column.size(); ++c) {
      const int32_t channel = reader.channel_of_column[c];
      const float* const values = reader.magnitudes.data() + c * static_cast<size_t>(reader.rows);
      if (channel == StripedReader::kFixed) {
        stripe.columns.push_back({.fixed = values});
      } else {
        std::vector<const float*>& own = columns[static_cast<size_t>(channel)];
        stripe.columns.push_back({.position = channel, .nth = own.size()});
        own.push_back(values);
      }
      if (static_cast<int64_t>(stripe.columns.size()) < options_.m) continue;
      const bool moves = std::any_of(
          stripe.columns.begin(), stripe.columns.end(),
          [&](const Column& column) { return column.position != stripe.columns[0].position; });
      if (moves) {
        for (const Column& column : stripe.columns) {
          if (column.position == StripedReader::kFixed) continue;
          stripes_of_[static_cast<size_t>(column.position)].push_back(stripes_.size());
        }
        stripes_.push_back(stripe);
      }
      stripe.columns.clear();
    }
  }

  // Positions that share all their stripes: channels need not trade places within.
  std::vector<std::vector<int32_t>> InterchangeableSets() const {
    std::map<std::vector<size_t>, std::vector<int32_t>> sets;
    for (size_t p = 0; p < stripes_of_.size(); ++p) {
      if (!stripes_of_[p].empty()) sets[stripes_of_[p]].push_back(static_cast<int32_t>(p));
    }
    std::vector<std::vector<int32_t>> listed;
    listed.reserve(sets.size());
    for (auto& [stripes, positions] : sets) listed.push_back(std::move(positions));
    return listed;
  }

  double Kept(const Stripe& stripe) {
    const int64_t rows = readers_[stripe.reader].rows;
    std::array<const float*, kMaxM> columns{};
    for (size_t c = 0; c < stripe.columns.size(); ++c) {
      const Column& column = stripe.columns[c];
      if (column.position == StripedReader::kFixed) {
        columns[c] = column.fixed;
      } else {
        const auto channel = static_cast<size_t>(order_[static_cast<size_t>(column.position)]);
        columns[c] = columns_[stripe.reader][channel][column.nth];
      }
    }
    work_ += rows * options_.m;
    if (options_.n == 2 && options_.m == 4) return SumTwoOfFour(columns.data(), rows);
    double sum = 0;
    std::array<float, kMaxM> values{};
    const auto end = values.begin() + options_.m;
    for (int64_t row = 0; row < rows; ++row) {
      for (size_t c = 0; c < stripe.columns.size(); ++c) values[c] = columns[c][row];
      std::partial_sort(values.begin(), values.begin() + options_.n, end, std::greater<>());
      sum = std::accumulate(values.begin(), values.begin() + options_.n, sum);
    }
    return sum;
  }

  double Total() const {
    return std::accumulate(stripes_.begin(), stripes_.end(), 0.0,
                           [](double sum, const Stripe& stripe) { return sum + stripe.kept; });
  }

  void Apply(const Exchange& exchange) {
    for (const auto& [p, q] : exchange) {
      std::swap(order_[static_cast<size_t>(p)], order_[static_cast<size_t>(q)]);
    }
  }

  // What the stripes around `a` and `b` keep more after the exchange; leaves the order as it was.
  double Gain(const Exchange& exchange, const std::vector<size_t>& touched) {
    Apply(exchange);
    double gain = 0;
    for (const size_t s : touched) gain += Kept(stripes_[s]) - stripes_[s].kept;
    Apply(exchange);
    return gain;
  }

  bool CarryOutBest(const std::vector<int32_t>& a, const std::vector<int32_t>& b, double least) {
    const std::vector<size_t>& of_a = stripes_of_[static_cast<size_t>(a[0])];
    const std::vector<size_t>& of_b = stripes_of_[static_cast<size_t>(b[0])];
    std::vector<size_t> touched;
    std::set_union(of_a.begin(), of_a.end(), of_b.begin(), of_b.end(), std::back_inserter(touched));
    Exchange best;
    double most = least;
    const auto consider = [&](Exchange exchange) {
      const double gain = Gain(exchange, touched);
      if (gain <= most) return;
      most = gain;
      best = std::move(exchange);
    };
    for (size_t i = 0; i < a.size(); ++i) {
      for (size_t j = 0; j < b.size(); ++j) {
        consider({{a[i], b[j]}});
        for (size_t k = i + 1; k < a.size(); ++k) {
          for (size_t l = j + 1; l < b.size(); ++l) consider({{a[i], b[j]}, {a[k], b[l]}});
        }
      }
    }
    if (best.empty()) return false;
    Apply(best);
    for (const size_t s : touched) stripes_[s].kept = Kept(stripes_[s]);
    return true;
  }

  const absl::Span<const StripedReader> readers_;
  const PermutationOptions options_;
  std::vector<std::vector<std::vector<const float*>>> columns_;  // by reader and channel
  std::vector<Stripe> stripes_;
  std::vector<std::vector<size_t>> stripes_of_;  // by position, ascending
  std::vector<int32_t> order_;                   // by position
  int64_t work_ = 0;
};

}  // namespace

absl::StatusOr<ChannelPermutation> FindPermutation(absl::Span<const StripedReader> readers,
                                                   int64_t channels,
                                                   const PermutationOptions& options) {
  AMC_RETURN_IF_ERROR(CheckReaders(readers, channels, options));
  return Arranger(readers, channels, options).Run();
}

}  // namespace amc
