// The search for an order, against all orders.
#include "env/prune/channel_permutation.h"

#include <algorithm>
#include <functional>
#include <numeric>

#include "base/interrupt.h"
#include "base/rng.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace amc {
namespace {

using ::testing::HasSubstr;

StripedReader RandomReader(int64_t rows, int64_t channels, uint64_t seed) {
  Rng rng(seed);
  StripedReader reader{.rows = rows, .magnitudes = {}, .channel_of_column = {}};
  for (int64_t i = 0; i < rows * channels; ++i) {
    const double value = rng.Normal();
    reader.magnitudes.push_back(static_cast<float>(value * value));  // a long tail
  }
  reader.channel_of_column.resize(static_cast<size_t>(channels));
  std::iota(reader.channel_of_column.begin(), reader.channel_of_column.end(), 0);
  return reader;
}

// What N:M keeps of the reader if channel order[p] stands where p stood: by sorting.
double KeptBy(const StripedReader& reader, const std::vector<int32_t>& order, int64_t n,
              int64_t m) {
  double sum = 0;
  const auto columns = static_cast<int64_t>(reader.channel_of_column.size());
  for (int64_t row = 0; row < reader.rows; ++row) {
    for (int64_t first = 0; first < columns; first += m) {
      std::vector<float> values;
      for (int64_t c = first; c < first + m; ++c) {
        const int32_t here = reader.channel_of_column[c];
        int64_t source = c;
        if (here != StripedReader::kFixed) {
          source = std::find(reader.channel_of_column.begin(), reader.channel_of_column.end(),
                             order[here]) -
                   reader.channel_of_column.begin();
        }
        values.push_back(reader.magnitudes[source * reader.rows + row]);
      }
      std::sort(values.begin(), values.end(), std::greater<>());
      sum += std::accumulate(values.begin(), values.begin() + n, 0.0);
    }
  }
  return sum;
}

double MostOfAllOrders(const StripedReader& reader, int64_t channels, int64_t n, int64_t m) {
  std::vector<int32_t> order(static_cast<size_t>(channels));
  std::iota(order.begin(), order.end(), 0);
  double most = 0;
  do {
    most = std::max(most, KeptBy(reader, order, n, m));
  } while (std::next_permutation(order.begin(), order.end()));
  return most;
}

TEST(ChannelPermutationTest, IsTheBestOfAllOrdersOfEightChannels) {
  int gained = 0;
  for (uint64_t seed = 0; seed < 6; ++seed) {
    const StripedReader reader = RandomReader(19, 8, seed);
    const auto found = FindPermutation({&reader, 1}, 8, {});
    ASSERT_TRUE(found.ok()) << found.status();
    const double most = MostOfAllOrders(reader, 8, 2, 4);
    EXPECT_NEAR(found->kept_after, most, 1e-5 * most) << seed;
    gained += found->kept_after > found->kept_before ? 1 : 0;
    EXPECT_NEAR(KeptBy(reader, found->order, 2, 4), found->kept_after, 1e-5 * most);
  }
  EXPECT_GE(gained, 3);
}

TEST(ChannelPermutationTest, OtherNAndMHaveTheirOwnBestOrder) {
  for (uint64_t seed = 0; seed < 3; ++seed) {
    const StripedReader reader = RandomReader(7, 6, seed);
    for (const auto& [n, m] : {std::pair<int64_t, int64_t>{1, 3}, {2, 3}}) {
      const auto found = FindPermutation({&reader, 1}, 6, {.n = n, .m = m});
      ASSERT_TRUE(found.ok()) << found.status();
      const double most = MostOfAllOrders(reader, 6, n, m);
      EXPECT_NEAR(found->kept_after, most, 1e-5 * most) << seed;
    }
  }
}

// Large columns stand together and could each have a stripe of their own: nothing large is lost.
TEST(ChannelPermutationTest, SpreadsWhatCrowds) {
  constexpr int64_t kChannels = 64, kRows = 9;
  StripedReader reader = RandomReader(kRows, kChannels, 3);
  double large = 0;
  for (int64_t c = 0; c < kChannels; ++c) {
    for (int64_t r = 0; r < kRows; ++r) {
      reader.magnitudes[c * kRows + r] = c < kChannels / 2 ? 100 + static_cast<float>(c) : 1;
      large += c < kChannels / 2 ? 100 + static_cast<double>(c) : 0;
    }
  }
  const auto found = FindPermutation({&reader, 1}, kChannels, {});
  ASSERT_TRUE(found.ok());
  EXPECT_NEAR(found->kept_after, large, 1e-3);
}

TEST(ChannelPermutationTest, SumsOverAllReadersWithFixedColumnsAmongThem) {
  // The second reader has two columns that belong to nobody here, and the channels elsewhere.
  StripedReader second = RandomReader(5, 12, 9);
  second.channel_of_column = {
      StripedReader::kFixed, 0, 1, 2, 3, 4, 5, 6, 7, StripedReader::kFixed, StripedReader::kFixed,
      StripedReader::kFixed};
  const std::vector<StripedReader> readers = {RandomReader(11, 8, 8), second};
  const auto found = FindPermutation(readers, 8, {});
  ASSERT_TRUE(found.ok()) << found.status();
  std::vector<int32_t> identity(8);
  std::iota(identity.begin(), identity.end(), 0);
  const auto kept = [&](const std::vector<int32_t>& order) {
    return KeptBy(readers[0], order, 2, 4) + KeptBy(readers[1], order, 2, 4);
  };
  EXPECT_NEAR(found->kept_after - found->kept_before, kept(found->order) - kept(identity), 1e-3);
  EXPECT_GT(found->kept_after, found->kept_before);
  EXPECT_EQ(FindPermutation(readers, 8, {})->order, found->order);
}

TEST(ChannelPermutationTest, EveryOrderIsAPermutationAndNeverWorse) {
  for (const int64_t work : {int64_t{1}, int64_t{50'000}, int64_t{4'000'000'000}}) {
    const StripedReader reader = RandomReader(18, 40, 5);
    const auto found = FindPermutation({&reader, 1}, 40, {.max_work = work});
    ASSERT_TRUE(found.ok());
    std::vector<int32_t> sorted = found->order;
    std::sort(sorted.begin(), sorted.end());
    for (int32_t c = 0; c < 40; ++c) EXPECT_EQ(sorted[c], c);
    EXPECT_GE(found->kept_after, found->kept_before);
    EXPECT_EQ(found->kept_after == found->kept_before, work == 1);
  }
}

TEST(ChannelPermutationTest, ChannelsOfSeveralColumnsMoveWhole) {
  // Two columns for each of four channels, in stripes of four.
  StripedReader reader = RandomReader(6, 8, 4);
  reader.channel_of_column = {0, 0, 1, 1, 2, 2, 3, 3};
  const auto found = FindPermutation({&reader, 1}, 4, {});
  ASSERT_TRUE(found.ok());
  double most = 0;
  std::vector<int32_t> order = {0, 1, 2, 3};
  do {
    StripedReader moved = reader;
    for (size_t p = 0; p < 4; ++p) {
      std::copy_n(reader.magnitudes.begin() + order[p] * 2 * reader.rows, 2 * reader.rows,
                  moved.magnitudes.begin() + static_cast<int64_t>(p) * 2 * reader.rows);
    }
    moved.channel_of_column.assign(8, StripedReader::kFixed);
    most = std::max(most, KeptBy(moved, {}, 2, 4));
  } while (std::next_permutation(order.begin(), order.end()));
  EXPECT_NEAR(found->kept_after, most, 1e-4);
}

TEST(ChannelPermutationTest, RefusesWhatContradictsItself) {
  StripedReader reader = RandomReader(3, 8, 1);
  const auto message = [&](int64_t channels, const PermutationOptions& options = {}) {
    const absl::Status status = FindPermutation({&reader, 1}, channels, options).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    return std::string(status.message());
  };
  EXPECT_THAT(message(8, {.n = 4}), HasSubstr("4:4"));
  EXPECT_THAT(message(8, {.n = 2, .m = 3}), HasSubstr("8 columns"));
  EXPECT_THAT(message(7), HasSubstr("channel 7 of 7"));
  EXPECT_THAT(message(9), HasSubstr("0 columns, another one 1"));
  reader.magnitudes.pop_back();
  EXPECT_THAT(message(8), HasSubstr("23 values"));
}

TEST(ChannelPermutationTest, CanBeGivenUp) {
  const InterruptScope scope([] { return true; });
  const StripedReader reader = RandomReader(3, 8, 1);
  EXPECT_EQ(FindPermutation({&reader, 1}, 8, {}).status().code(), absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace amc
