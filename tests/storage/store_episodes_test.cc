// Listing episodes: identical bytes, orders and filters against brute force, stable pages.
#include <algorithm>
#include <limits>
#include <optional>
#include <set>

#include "absl/strings/str_cat.h"
#include "base/rng.h"
#include "tests/storage/store_fixture.h"

namespace amc {
namespace {

using absl::StatusCode;
using testing::ElementsAre;
using testing::IsEmpty;

class StoreEpisodesTest : public StoreTest {
 protected:
  StoreEpisodesTest() { Create("a"); }

  // All pages of `request`; checks that only the last one is short.
  std::vector<v1::Episode> ListAll(v1::ListEpisodesRequest request) {
    std::vector<v1::Episode> all;
    for (;;) {
      const auto page = store_->ListEpisodes(request);
      EXPECT_THAT(page, IsOk());
      if (!page.ok()) return all;
      all.insert(all.end(), page->episodes().begin(), page->episodes().end());
      if (page->next_page_token().empty()) return all;
      EXPECT_EQ(page->episodes_size(), request.page_size());
      request.set_page_token(page->next_page_token());
    }
  }
  std::vector<int64_t> Numbers(const std::vector<v1::Episode>& episodes) {
    std::vector<int64_t> numbers;
    for (const v1::Episode& episode : episodes) numbers.push_back(episode.number());
    return numbers;
  }
  static v1::Episode Infeasible(int64_t number) {
    v1::Episode episode = SampleEpisode("a", number);
    episode.set_state(v1::EPISODE_STATE_INFEASIBLE);
    episode.clear_measurement();
    episode.clear_reward();
    episode.set_note("normal equations of conv1 are singular");
    return episode;
  }
  v1::ListEpisodesRequest Request(v1::EpisodeOrder order, int page_size) {
    v1::ListEpisodesRequest request;
    request.set_job("a");
    request.set_order(order);
    request.set_page_size(page_size);
    return request;
  }
};

TEST_F(StoreEpisodesTest, ReturnsEpisodesAsTheyWereCommittedToTheLastByte) {
  v1::Episode odd = SampleEpisode("a", 1, -0.0);
  odd.mutable_measurement()->set_top1(1.0 / 3);
  odd.mutable_measurement()->set_kl(std::numeric_limits<double>::denorm_min());
  odd.mutable_measurement()->set_loss(std::numeric_limits<double>::infinity());
  odd.mutable_measurement()->set_top5(std::nan(""));
  odd.mutable_steps(0)->set_observation(0, -0.0f);
  odd.set_note(std::string("\0\xc3\xa4", 3));
  v1::Episode bare;  // every field at its default
  bare.set_job("a");
  bare.set_number(2);
  ASSERT_THAT(Commit("a", {SampleEpisode("a", 0), odd, bare}), IsOk());
  for (int pass = 0; pass < 2; ++pass) {
    v1::ListEpisodesRequest request = Request(v1::EPISODE_ORDER_NUMBER, 10);
    request.set_with_steps(true);
    EXPECT_THAT(ListAll(request),
                ElementsAre(SameAs(SampleEpisode("a", 0)), SameAs(odd), SameAs(bare)));
    EXPECT_THAT(*store_->GetEpisode("a", 1), SameAs(odd));
    odd.clear_steps();
    request.set_with_steps(false);
    EXPECT_THAT(ListAll(request)[1], SameAs(odd));
    *odd.mutable_steps() = store_->GetEpisode("a", 1)->steps();
    Reopen();
  }
}

TEST_F(StoreEpisodesTest, PagesHaveADefaultAndACap) {
  std::vector<v1::Episode> episodes;
  for (int64_t i = 0; i < 1005; ++i) episodes.push_back(SampleEpisode("a", i));
  ASSERT_THAT(Commit("a", episodes), IsOk());
  EXPECT_EQ(store_->ListEpisodes(Request(v1::EPISODE_ORDER_UNSPECIFIED, 0))->episodes_size(), 20);
  EXPECT_EQ(store_->ListEpisodes(Request(v1::EPISODE_ORDER_UNSPECIFIED, 9999))->episodes_size(),
            1000);
  EXPECT_THAT(store_->ListEpisodes(Request(v1::EPISODE_ORDER_UNSPECIFIED, -5)),
              Fails(StatusCode::kInvalidArgument, "-5"));
}

TEST_F(StoreEpisodesTest, AFullLastPageHasNoSuccessor) {
  ASSERT_THAT(Commit("a", {SampleEpisode("a", 0), SampleEpisode("a", 1)}), IsOk());
  const auto page = store_->ListEpisodes(Request(v1::EPISODE_ORDER_REWARD_DESC, 2));
  ASSERT_THAT(page, IsOk());
  EXPECT_EQ(page->episodes_size(), 2);
  EXPECT_EQ(page->next_page_token(), "");
}

TEST_F(StoreEpisodesTest, RefusesBadQueries) {
  ASSERT_THAT(Commit("a", {SampleEpisode("a", 0), SampleEpisode("a", 1)}), IsOk());
  EXPECT_THAT(store_->ListEpisodes(Request(static_cast<v1::EpisodeOrder>(99), 1)),
              Fails(StatusCode::kInvalidArgument, "99"));
  v1::ListEpisodesRequest request = Request(v1::EPISODE_ORDER_REWARD_DESC, 1);
  request.mutable_filter()->set_min_reward(std::nan(""));
  EXPECT_THAT(store_->ListEpisodes(request), Fails(StatusCode::kInvalidArgument, "min_reward"));

  request = Request(v1::EPISODE_ORDER_REWARD_DESC, 1);
  const std::string token = store_->ListEpisodes(request)->next_page_token();
  ASSERT_NE(token, "");
  v1::ListEpisodesRequest other = Request(v1::EPISODE_ORDER_MACS, 1);
  other.set_page_token(token);
  EXPECT_THAT(store_->ListEpisodes(other), Fails(StatusCode::kInvalidArgument, "another query"));
  request.mutable_filter()->set_max_macs(5);
  request.set_page_token(token);
  EXPECT_THAT(store_->ListEpisodes(request), Fails(StatusCode::kInvalidArgument, "another query"));
  request.set_page_token("not base64!");
  EXPECT_THAT(store_->ListEpisodes(request), Fails(StatusCode::kInvalidArgument, "page_token"));
}

TEST_F(StoreEpisodesTest, BestIsTheHighestRewardTheEarlierOnATie) {
  EXPECT_THAT(store_->BestEpisode("a"), Fails(StatusCode::kNotFound, "\"a\""));
  ASSERT_THAT(Commit("a", {SampleEpisode("a", 0, 0.1), SampleEpisode("a", 1, 0.7),
                           SampleEpisode("a", 2, 0.7), SampleEpisode("a", 3, -0.5)}),
              IsOk());
  EXPECT_THAT(*store_->BestEpisode("a"), SameAs(SampleEpisode("a", 1, 0.7)));
}

TEST_F(StoreEpisodesTest, NegativeRewardsAreOrderedToo) {
  ASSERT_THAT(Commit("a", {SampleEpisode("a", 0, -2), SampleEpisode("a", 1, -1),
                           SampleEpisode("a", 2, 0), SampleEpisode("a", 3, -1.5)}),
              IsOk());
  EXPECT_THAT(Numbers(ListAll(Request(v1::EPISODE_ORDER_REWARD_DESC, 1))), ElementsAre(2, 1, 3, 0));
}

TEST_F(StoreEpisodesTest, InfeasibleOnesStandLastByQualityAndInTheirPlaceOtherwise) {
  v1::Episode worst = SampleEpisode("a", 1, -1e300);
  worst.mutable_measurement()->set_top1(0);
  const std::vector<v1::Episode> episodes = {Infeasible(0), worst, Infeasible(2),
                                             SampleEpisode("a", 3, 0.7), Infeasible(4)};
  ASSERT_THAT(Commit("a", episodes), IsOk());
  for (int page_size = 1; page_size <= 6; ++page_size) {
    EXPECT_THAT(Numbers(ListAll(Request(v1::EPISODE_ORDER_REWARD_DESC, page_size))),
                ElementsAre(3, 1, 0, 2, 4));
    EXPECT_THAT(Numbers(ListAll(Request(v1::EPISODE_ORDER_TOP1_DESC, page_size))),
                ElementsAre(3, 1, 0, 2, 4));
    EXPECT_THAT(Numbers(ListAll(Request(v1::EPISODE_ORDER_NUMBER, page_size))),
                ElementsAre(0, 1, 2, 3, 4));
    EXPECT_THAT(Numbers(ListAll(Request(v1::EPISODE_ORDER_MACS, page_size))),
                ElementsAre(0, 1, 2, 3, 4));
  }
  Reopen();
  EXPECT_THAT(*store_->GetEpisode("a", 2), SameAs(episodes[2]));
}

TEST_F(StoreEpisodesTest, InfeasibleOnesPassNoFilterByQuality) {
  ASSERT_THAT(Commit("a", {Infeasible(0), SampleEpisode("a", 1, -0.5), Infeasible(2)}), IsOk());
  v1::ListEpisodesRequest request = Request(v1::EPISODE_ORDER_NUMBER, 10);
  request.mutable_filter()->set_min_reward(-1e308);
  EXPECT_THAT(Numbers(ListAll(request)), ElementsAre(1));
  request.mutable_filter()->clear_min_reward();
  request.mutable_filter()->set_min_top1(-1);
  EXPECT_THAT(Numbers(ListAll(request)), ElementsAre(1));
  request.mutable_filter()->clear_min_top1();
  request.mutable_filter()->set_max_macs(20000001);  // their cost is known
  EXPECT_THAT(Numbers(ListAll(request)), ElementsAre(0, 1));
}

TEST_F(StoreEpisodesTest, AnInfeasibleOneIsNeverTheBest) {
  ASSERT_THAT(Commit("a", {Infeasible(0), Infeasible(1)}), IsOk());
  EXPECT_THAT(store_->BestEpisode("a"), Fails(StatusCode::kNotFound, "measurement"));
  ASSERT_THAT(Commit("a", {SampleEpisode("a", 2, -7)}), IsOk());
  EXPECT_THAT(*store_->BestEpisode("a"), SameAs(SampleEpisode("a", 2, -7)));
}

// Values from few levels, so that ties are long; two jobs side by side.
TEST_F(StoreEpisodesTest, OrdersAndFiltersEqualBruteForce) {
  Create("b");
  Rng rng(11);
  std::vector<v1::Episode> episodes;
  for (int64_t i = 0; i < 400; ++i) {
    v1::Episode episode = SampleEpisode("a", i);
    episode.set_reward(static_cast<double>(rng.Below(6)) / 5 - 0.4);
    episode.mutable_measurement()->set_top1(static_cast<double>(rng.Below(5)) / 4);
    episode.mutable_cost()->set_macs(static_cast<int64_t>(rng.Below(8)));
    episode.mutable_cost()->set_params(static_cast<int64_t>(rng.Below(8)));
    if (rng.Below(8) == 0) {
      episode.set_state(v1::EPISODE_STATE_INFEASIBLE);
      episode.clear_measurement();
      episode.clear_reward();
    }
    episodes.push_back(episode);
  }
  constexpr double kNone = -std::numeric_limits<double>::infinity();
  const auto reward = [](const v1::Episode& e) { return e.has_measurement() ? e.reward() : kNone; };
  const auto top1 = [](const v1::Episode& e) {
    return e.has_measurement() ? e.measurement().top1() : kNone;
  };
  ASSERT_THAT(Commit("a", episodes), IsOk());
  for (v1::Episode episode : episodes) {
    episode.set_job("b");
    episode.set_reward(1);
    ASSERT_THAT(Commit("b", {episode}), IsOk());
    if (episode.number() > 20) break;
  }

  int64_t listed = 0;
  for (int trial = 0; trial < 200; ++trial) {
    const auto order = static_cast<v1::EpisodeOrder>(rng.Below(5));
    v1::ListEpisodesRequest request = Request(order, 1 + static_cast<int>(rng.Below(60)));
    v1::EpisodeFilter& filter = *request.mutable_filter();
    if (rng.Below(3) == 0) filter.set_min_reward(static_cast<double>(rng.Below(6)) / 5 - 0.4);
    if (rng.Below(3) == 0) filter.set_min_top1(static_cast<double>(rng.Below(5)) / 4);
    if (rng.Below(3) == 0) filter.set_max_macs(static_cast<int64_t>(rng.Below(8)));
    if (rng.Below(3) == 0) filter.set_max_params(static_cast<int64_t>(rng.Below(8)));
    if (rng.Below(3) == 0) filter.set_min_number(static_cast<int64_t>(rng.Below(300)));
    if (rng.Below(3) == 0) filter.set_max_number(static_cast<int64_t>(rng.Below(400)));

    std::vector<v1::Episode> expected;
    for (const v1::Episode& e : episodes) {
      if (filter.has_min_reward() && reward(e) < filter.min_reward()) continue;
      if (filter.has_min_top1() && top1(e) < filter.min_top1()) continue;
      if (filter.has_max_macs() && e.cost().macs() > filter.max_macs()) continue;
      if (filter.has_max_params() && e.cost().params() > filter.max_params()) continue;
      if (filter.has_min_number() && e.number() < filter.min_number()) continue;
      if (filter.has_max_number() && e.number() > filter.max_number()) continue;
      expected.push_back(e);
    }
    std::stable_sort(expected.begin(), expected.end(),
                     [&](const v1::Episode& x, const v1::Episode& y) {
                       if (order == v1::EPISODE_ORDER_REWARD_DESC) return reward(x) > reward(y);
                       if (order == v1::EPISODE_ORDER_MACS)
                         return x.cost().macs() < y.cost().macs();
                       if (order == v1::EPISODE_ORDER_TOP1_DESC) {
                         return top1(x) > top1(y);
                       }
                       return false;  // by number, as they are
                     });
    ASSERT_EQ(Numbers(ListAll(request)), Numbers(expected)) << request.DebugString();
    listed += static_cast<int64_t>(expected.size());
  }
  EXPECT_GT(listed, 1000);
}

TEST_F(StoreEpisodesTest, PagesStayRightWhileEpisodesAreCommitted) {
  Rng rng(3);
  int64_t next = 0;
  const auto commit_some = [&] {
    std::vector<v1::Episode> episodes;
    for (int i = 0; i < 7; ++i) {
      episodes.push_back(SampleEpisode("a", next++, static_cast<double>(rng.Below(10)) / 10));
    }
    ASSERT_THAT(Commit("a", episodes), IsOk());
  };
  for (int i = 0; i < 10; ++i) commit_some();
  for (v1::EpisodeOrder order : {v1::EPISODE_ORDER_NUMBER, v1::EPISODE_ORDER_REWARD_DESC,
                                 v1::EPISODE_ORDER_MACS, v1::EPISODE_ORDER_TOP1_DESC}) {
    const int64_t before = next;
    v1::ListEpisodesRequest request = Request(order, 5);
    std::vector<v1::Episode> seen;
    for (;;) {
      const auto page = store_->ListEpisodes(request);
      ASSERT_THAT(page, IsOk());
      seen.insert(seen.end(), page->episodes().begin(), page->episodes().end());
      if (page->next_page_token().empty()) break;
      request.set_page_token(page->next_page_token());
      if (next < before + 50) commit_some();
    }
    // Nothing twice, and nothing missed that was there at the beginning.
    const std::vector<int64_t> numbers = Numbers(seen);
    const std::set<int64_t> unique(numbers.begin(), numbers.end());
    EXPECT_EQ(unique.size(), numbers.size());
    for (int64_t number = 0; number < before; ++number) {
      EXPECT_TRUE(unique.count(number)) << "order " << order << ", episode " << number;
    }
    if (order == v1::EPISODE_ORDER_REWARD_DESC) {
      EXPECT_TRUE(
          std::is_sorted(seen.begin(), seen.end(), [](const v1::Episode& x, const v1::Episode& y) {
            return x.reward() != y.reward() ? x.reward() > y.reward() : x.number() < y.number();
          }));
    }
  }
}

// Kinds, in every order, against brute force.
TEST_F(StoreEpisodesTest, FiltersByKind) {
  std::vector<v1::Episode> episodes;
  for (int64_t n = 0; n < 60; ++n) {
    v1::Episode episode = SampleEpisode("a", n, 0.01 * static_cast<double>(n * 37 % 60));
    episode.set_kind(static_cast<v1::EpisodeKind>(n % 4));  // a quarter of before there were kinds
    episodes.push_back(std::move(episode));
  }
  ASSERT_THAT(Commit("a", episodes), IsOk());
  const std::vector<std::vector<v1::EpisodeKind>> choices = {
      {v1::EPISODE_KIND_CANDIDATE},
      {v1::EPISODE_KIND_PROBE},
      {v1::EPISODE_KIND_PROBE, v1::EPISODE_KIND_CANDIDATE, v1::EPISODE_KIND_PROBE}};
  for (const std::vector<v1::EpisodeKind>& kinds : choices) {
    for (const v1::EpisodeOrder order : {v1::EPISODE_ORDER_NUMBER, v1::EPISODE_ORDER_REWARD_DESC,
                                         v1::EPISODE_ORDER_MACS, v1::EPISODE_ORDER_TOP1_DESC}) {
      v1::ListEpisodesRequest request = Request(order, 7);
      request.mutable_filter()->set_min_reward(0.1);
      std::vector<int64_t> expected;
      for (const v1::Episode& episode : ListAll(request)) {
        const auto kind = episode.kind() == v1::EPISODE_KIND_UNSPECIFIED
                              ? v1::EPISODE_KIND_CANDIDATE
                              : episode.kind();
        if (std::count(kinds.begin(), kinds.end(), kind) > 0) expected.push_back(episode.number());
      }
      ASSERT_FALSE(expected.empty());
      for (const v1::EpisodeKind kind : kinds) request.mutable_filter()->add_kinds(kind);
      EXPECT_EQ(Numbers(ListAll(request)), expected) << order;
    }
  }
  // Episode 47 has the highest reward, but it is a probe; 34, the next, was screened.
  EXPECT_EQ(store_->BestEpisode("a")->number(), 21);
  v1::ListEpisodesRequest bad = Request(v1::EPISODE_ORDER_NUMBER, 7);
  bad.mutable_filter()->add_kinds(static_cast<v1::EpisodeKind>(9));
  EXPECT_EQ(store_->ListEpisodes(bad).status().code(), StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace amc
