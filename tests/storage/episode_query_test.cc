// Both ways to find a page's episodes, by the order's index and by a filter's, are the same.
#include "storage/episode_query.h"

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
    EXPECT_THAT(Migrate(*db_, SchemaMigrations()), IsOk());
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
      const auto limited = FindEpisodes(*db_, job_key_, order, filter, after, 30, 0);
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

TEST_F(EpisodeQueryTest, UnknownOrderIsRefused) {
  EXPECT_THAT(FindEpisodes(*db_, job_key_, static_cast<v1::EpisodeOrder>(9), {}, {}, 1),
              Fails(StatusCode::kInvalidArgument, "9"));
}

}  // namespace
}  // namespace amc::rows
