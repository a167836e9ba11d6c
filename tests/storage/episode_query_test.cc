// Both ways to find a page's episodes, by a plain walk and along zones, are the same.
#include "storage/episode_query.h"

#include <limits>

#include "absl/strings/str_cat.h"
#include "base/rng.h"
#include "storage/episode_rows.h"
#include "storage/job_rows.h"
#include "storage/migrations.h"
#include "tests/storage/store_fixture.h"

namespace amc::rows {
namespace {

using absl::StatusCode;

class EpisodeQueryTest : public testing::Test {
 protected:
  EpisodeQueryTest() : folder_(*TempDirectory::Create("amc-query")) {
    db_ = *sqlite::Database::Open(folder_.path() + "/q.db", sqlite::Database::Mode::kCreate);
    EXPECT_THAT(MigrateToPresent(*db_), IsOk());
    EXPECT_THAT(CreateJob(*db_, SampleJob("a"), "request", "hash", {}), IsOk());
    job_key_ = *JobKey(*db_, "a");
    Rng rng(5);
    auto transaction = sqlite::Transaction::Begin(*db_, sqlite::Transaction::Kind::kWrite);
    for (int64_t i = 0; i < 3000; ++i) {
      // Reward and cost rise together, as they do in a search.
      const double level = static_cast<double>(rng.Below(50)) / 50;
      v1::Episode episode = SampleEpisode("a", i, level);
      episode.mutable_cost()->set_macs(static_cast<int64_t>(100 * level) +
                                       static_cast<int64_t>(rng.Below(20)));
      // And what is rare: no measurement, costs of nothing, rewards at the ends of all numbers.
      constexpr double kMost = std::numeric_limits<double>::max();
      constexpr double kOdd[] = {-kMost, -1e-300, -0.0, 1e-300, kMost};
      if (i % 97 == 0) {
        episode.set_state(v1::EPISODE_STATE_INFEASIBLE);
        episode.clear_measurement();
      } else if (i % 101 == 0) {
        episode.set_reward(kOdd[static_cast<size_t>(i / 101) % std::size(kOdd)]);
        episode.mutable_cost()->set_macs(0);
      }
      EXPECT_THAT(InsertEpisode(*db_, job_key_, "a", episode), IsOk());
    }
    EXPECT_THAT(transaction->Commit(), IsOk());
  }

  TempDirectory folder_;
  std::unique_ptr<sqlite::Database> db_;
  int64_t job_key_ = 0;
};

TEST_F(EpisodeQueryTest, WorkLimitChangesTheWayNotTheAnswer) {
  Rng rng(6);
  int64_t compared = 0;
  for (int trial = 0; trial < 200; ++trial) {
    const auto order = static_cast<v1::EpisodeOrder>(1 + rng.Below(4));
    v1::EpisodeFilter filter;
    if (rng.Below(2) == 0) filter.set_max_macs(static_cast<int64_t>(rng.Below(60)));
    if (rng.Below(2) == 0) filter.set_min_reward(rng.Uniform());
    if (rng.Below(3) == 0) filter.set_min_top1(rng.Uniform());
    if (rng.Below(3) == 0) filter.set_min_number(static_cast<int64_t>(rng.Below(3000)));
    std::optional<EpisodePosition> after;
    for (int page = 0; page < 3; ++page) {
      const auto unlimited = FindEpisodes(*db_, job_key_, order, filter, after, 30, INT64_MAX / 2);
      const int64_t few_episodes = trial % 2 == 0 ? kFewEpisodes : 500;  // another axis's zones
      const auto limited = FindEpisodes(*db_, job_key_, order, filter, after, 30, 0, few_episodes);
      ASSERT_THAT(unlimited, IsOk());
      ASSERT_THAT(limited, IsOk());
      ASSERT_EQ(limited->size(), unlimited->size()) << filter.DebugString();
      for (size_t i = 0; i < limited->size(); ++i) {
        ASSERT_EQ((*limited)[i].number, (*unlimited)[i].number) << filter.DebugString();
        ASSERT_EQ((*limited)[i].key, (*unlimited)[i].key);
        ASSERT_EQ((*limited)[i].rowid, (*unlimited)[i].rowid);
        ++compared;
      }
      if (unlimited->empty()) break;
      after = unlimited->back();
    }
  }
  EXPECT_GT(compared, 2000);
}

// All rewards, top-1 and costs lie in a few zones next to each other, all of which a filter lets
// pass: one long stretch, of which no page may cost more than itself.
TEST_F(EpisodeQueryTest, APageAmongZonesCostsNoMoreWhereverItLies) {
  constexpr int64_t kEpisodes = 8000, kFirst = 1'000'000;
  ASSERT_THAT(CreateJob(*db_, SampleJob("long"), "request-long", "hash", {}), IsOk());
  const int64_t job_key = *JobKey(*db_, "long");
  Rng rng(7);
  auto transaction = sqlite::Transaction::Begin(*db_, sqlite::Transaction::Kind::kWrite);
  for (int64_t i = 0; i < kEpisodes; ++i) {
    v1::Episode episode = SampleEpisode("long", kFirst + i, 0.9 + rng.Uniform() / 100);
    episode.mutable_cost()->set_macs(1'000'000 + static_cast<int64_t>(rng.Below(10'000)));
    ASSERT_THAT(InsertEpisode(*db_, job_key, "long", episode), IsOk());
  }
  ASSERT_THAT(transaction->Commit(), IsOk());
  v1::EpisodeFilter none, bounds;  // on the column of the order too
  bounds.set_min_reward(0.9);
  bounds.set_min_top1(0.9);
  bounds.set_max_macs(2'000'000);
  bounds.set_min_number(kFirst);
  bounds.set_max_number(kFirst + kEpisodes);
  for (const v1::EpisodeOrder order : {v1::EPISODE_ORDER_NUMBER, v1::EPISODE_ORDER_REWARD_DESC,
                                       v1::EPISODE_ORDER_MACS, v1::EPISODE_ORDER_TOP1_DESC}) {
    const auto all = FindEpisodes(*db_, job_key, order, none, {}, kEpisodes);
    ASSERT_THAT(all, IsOk());
    ASSERT_EQ(all->size(), static_cast<size_t>(kEpisodes));
    for (const v1::EpisodeFilter& filter : {none, bounds}) {
      for (size_t last = 0; last + 10 < all->size(); last += 500) {
        const sqlite::WorkLimit limit(*db_, 10'000);  // a walk over a few hundred rows
        const auto page =
            FindEpisodes(*db_, job_key, order, filter, (*all)[last], 10, 0, kFewEpisodes / 1000);
        ASSERT_THAT(page, IsOk()) << order << ", after " << last << filter.DebugString();
        ASSERT_EQ(page->size(), 10u);
        for (size_t i = 0; i < page->size(); ++i) {
          ASSERT_EQ((*page)[i].rowid, (*all)[last + 1 + i].rowid) << order << " " << last;
        }
      }
    }
  }
}

TEST_F(EpisodeQueryTest, ZonesHoldEveryEpisodeOnEveryAxis) {
  for (const v1::EpisodeOrder order : {v1::EPISODE_ORDER_NUMBER, v1::EPISODE_ORDER_REWARD_DESC,
                                       v1::EPISODE_ORDER_MACS, v1::EPISODE_ORDER_TOP1_DESC}) {
    EXPECT_EQ(FindEpisodes(*db_, job_key_, order, {}, {}, 5000, 0)->size(), 3000u) << order;
  }
}

// A file of version 2 gets the zones that it would have, had the present program written it.
TEST_F(EpisodeQueryTest, MigratedEpisodesLieInTheZonesOfCommittedOnes) {
  ASSERT_THAT(db_->Execute("ALTER TABLE tasks DROP COLUMN timing"), IsOk());  // what version 6 made
  ASSERT_THAT(db_->Execute("DROP TABLE latency_tables"), IsOk());             // what version 5 made
  for (const char* index : {"number", "reward", "macs", "top1"}) {            // what version 4 made
    ASSERT_THAT(db_->Execute(absl::StrCat("DROP INDEX episodes_by_", index)), IsOk());
  }
  ASSERT_THAT(db_->Execute("ALTER TABLE episodes DROP COLUMN kind; "
                           "ALTER TABLE tasks DROP COLUMN images"),
              IsOk());
  for (const char* index : {"number", "reward", "macs", "top1"}) {
    ASSERT_THAT(
        db_->Execute(absl::StrCat("CREATE INDEX episodes_by_", index, " ON episodes (job)")),
        IsOk());
  }
  ASSERT_THAT(db_->Execute("CREATE TABLE written AS SELECT * FROM episode_zones; "
                           "DROP TABLE episode_zones; PRAGMA user_version = 2"),
              IsOk());
  ASSERT_THAT(MigrateToPresent(*db_), IsOk());
  EXPECT_GT(*db_->QueryInt("SELECT count(*) FROM written"), 100);
  for (const char* difference : {"written EXCEPT SELECT * FROM episode_zones",
                                 "episode_zones EXCEPT SELECT * FROM written"}) {
    EXPECT_EQ(*db_->QueryInt(absl::StrCat("SELECT count(*) FROM (SELECT * FROM ", difference, ")")),
              0)
        << difference;
  }
}

TEST_F(EpisodeQueryTest, UnknownOrderIsRefused) {
  EXPECT_THAT(FindEpisodes(*db_, job_key_, static_cast<v1::EpisodeOrder>(9), {}, {}, 1),
              Fails(StatusCode::kInvalidArgument, "9"));
}

}  // namespace
}  // namespace amc::rows
