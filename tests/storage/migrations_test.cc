// From old files to the present schema, with steps of the test's own and with golden old files.
#include "storage/migrations.h"
#include "storage/episode_zones.h"

#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/storage/store_fixture.h"

namespace amc {
namespace {

using absl::StatusCode;
using sqlite::Database;

constexpr Migration kStep1 = "CREATE TABLE t (a INTEGER); INSERT INTO t VALUES (1)";
constexpr Migration kStep2 = "ALTER TABLE t ADD COLUMN b; UPDATE t SET b = a + 1";
constexpr Migration kStep3 = "ALTER TABLE t RENAME COLUMN b TO c; UPDATE t SET c = c * 10";
constexpr Migration kBroken = "UPDATE t SET a = 99; SELECT * FROM nothing";

class MigrationsTest : public testing::Test {
 protected:
  MigrationsTest() : folder_(*TempDirectory::Create("amc-migrate")), path_(folder_.path() + "/m") {
    Open();
  }
  void Open() {
    database_.reset();
    database_ = *Database::Open(path_, Database::Mode::kCreate);
  }
  int64_t Version() { return *database_->QueryInt("PRAGMA user_version"); }

  TempDirectory folder_;
  std::string path_;
  std::unique_ptr<Database> database_;
};

TEST_F(MigrationsTest, NewFileGetsAllStepsAndNoCopy) {
  ASSERT_THAT(Migrate(*database_, {kStep1, kStep2, kStep3}), IsOk());
  EXPECT_EQ(Version(), 3);
  EXPECT_EQ(*database_->QueryInt("SELECT c FROM t"), 20);
  EXPECT_EQ(*database_->QueryInt("PRAGMA application_id"), kApplicationId);
  EXPECT_THAT(ReadFile(path_ + ".v0.bak"), Fails(StatusCode::kNotFound, ""));
  ASSERT_THAT(Migrate(*database_, {kStep1, kStep2, kStep3}), IsOk());  // nothing to do
  EXPECT_EQ(*database_->QueryInt("SELECT c FROM t"), 20);
}

TEST_F(MigrationsTest, OldFileIsCopiedAndBroughtUp) {
  ASSERT_THAT(Migrate(*database_, {kStep1}), IsOk());
  Open();
  ASSERT_THAT(Migrate(*database_, {kStep1, kStep2, kStep3}), IsOk());
  EXPECT_EQ(Version(), 3);
  EXPECT_EQ(*database_->QueryInt("SELECT c FROM t"), 20);
  EXPECT_EQ(*database_->QueryInt("PRAGMA foreign_keys"), 1);

  const auto copy = Database::Open(path_ + ".v1.bak", Database::Mode::kCreate);
  ASSERT_THAT(copy, IsOk());
  EXPECT_EQ(*(*copy)->QueryInt("PRAGMA user_version"), 1);
  EXPECT_EQ(*(*copy)->QueryInt("SELECT a FROM t"), 1);
}

TEST_F(MigrationsTest, FailedStepLeavesTheOldVersion) {
  ASSERT_THAT(Migrate(*database_, {kStep1}), IsOk());
  EXPECT_THAT(Migrate(*database_, {kStep1, kStep2, kBroken}),
              Fails(StatusCode::kInternal, "migration to version 3"));
  EXPECT_EQ(Version(), 1);
  EXPECT_EQ(*database_->QueryInt("SELECT a FROM t"), 1);
  EXPECT_THAT(database_->Execute("SELECT b FROM t"), Fails(StatusCode::kInternal, "b"));
  ASSERT_THAT(Migrate(*database_, {kStep1, kStep2}), IsOk());  // and can be tried again
  EXPECT_EQ(Version(), 2);
}

TEST_F(MigrationsTest, StepThatBreaksAForeignKeyIsRefused) {
  constexpr Migration kParent =
      "CREATE TABLE p (k INTEGER PRIMARY KEY); CREATE TABLE c (k REFERENCES p (k));"
      "INSERT INTO p VALUES (1); INSERT INTO c VALUES (1)";
  ASSERT_THAT(Migrate(*database_, {kParent}), IsOk());
  EXPECT_THAT(Migrate(*database_, {kParent, "DELETE FROM p"}),
              Fails(StatusCode::kDataLoss, "table c"));
  EXPECT_EQ(*database_->QueryInt("SELECT count(*) FROM p"), 1);
  // A rebuilt table is not a broken one.
  EXPECT_THAT(Migrate(*database_, {kParent,
                                   "CREATE TABLE q (k INTEGER PRIMARY KEY); INSERT INTO q SELECT * "
                                   "FROM p; DROP TABLE p; ALTER TABLE q RENAME TO p"}),
              IsOk());
  EXPECT_EQ(Version(), 2);
}

TEST_F(MigrationsTest, NewerVersionIsRefusedWithBothNumbers) {
  ASSERT_THAT(Migrate(*database_, {kStep1, kStep2, kStep3}), IsOk());
  EXPECT_THAT(Migrate(*database_, {kStep1}),
              Fails(StatusCode::kFailedPrecondition, "has version 3"));
  EXPECT_THAT(Migrate(*database_, {kStep1}),
              Fails(StatusCode::kFailedPrecondition, "versions up to 1"));
}

TEST_F(MigrationsTest, DatabaseOfAnotherProgramIsRefused) {
  ASSERT_THAT(database_->Execute("CREATE TABLE their (a)"), IsOk());
  EXPECT_THAT(Migrate(*database_, {kStep1}),
              Fails(StatusCode::kFailedPrecondition, "another program"));
  ASSERT_THAT(database_->Execute("DROP TABLE their; PRAGMA application_id = 77"), IsOk());
  EXPECT_THAT(Migrate(*database_, {kStep1}), Fails(StatusCode::kFailedPrecondition, "77"));
}

TEST_F(MigrationsTest, StoreOfANewerVersionIsRefusedAndLeftAlone) {
  ASSERT_THAT(MigrateToPresent(*database_), IsOk());
  ASSERT_THAT(database_->Execute("PRAGMA user_version = 1000"), IsOk());
  database_.reset();
  EXPECT_THAT(OpenSqliteStore(path_), Fails(StatusCode::kFailedPrecondition, "version 1000"));
  EXPECT_THAT(OpenSqliteStore(path_), Fails(StatusCode::kFailedPrecondition,
                                            absl::StrCat("up to ", SchemaMigrations().size())));
  Open();
  EXPECT_EQ(Version(), 1000);
}

// A table of about a megabyte.
constexpr Migration kLarge =
    "CREATE TABLE t (a INTEGER, filling TEXT); "
    "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) "
    "INSERT INTO t SELECT i, hex(zeroblob(500)) FROM n";
// Writes four times as much, then changes what was there.
constexpr Migration kLarger =
    "CREATE TABLE u AS SELECT t.* FROM t, (VALUES (1), (2), (3), (4)); UPDATE t SET a = 0";

class InterruptedMigrationTest : public MigrationsTest {
 protected:
  void SetUp() override {
    ASSERT_THAT(Migrate(*database_, {kLarge}), IsOk());
    Open();  // the log moves into the file
  }
  // That the file is as it was, and can be migrated now.
  void CheckOldVersionAndMigrate() {
    Open();
    EXPECT_EQ(Version(), 1);
    EXPECT_EQ(*database_->QueryInt("SELECT count(*) FROM sqlite_master"), 1);
    EXPECT_EQ(*database_->QueryInt("SELECT sum(a) FROM t"), 500500);
    auto check = database_->Query("PRAGMA integrity_check");
    EXPECT_TRUE(*check->Step());
    EXPECT_EQ(check->Text(0), "ok");
    check = absl::UnknownError("");
    ASSERT_THAT(Migrate(*database_, {kLarge, kLarger}), IsOk());
    EXPECT_EQ(Version(), 2);
    EXPECT_EQ(*database_->QueryInt("SELECT count(*) FROM u"), 4000);
    EXPECT_EQ(*database_->QueryInt("SELECT sum(a) FROM t"), 0);
    const auto copy = Database::Open(path_ + ".v1.bak", Database::Mode::kCreate);
    ASSERT_THAT(copy, IsOk());
    EXPECT_EQ(*(*copy)->QueryInt("PRAGMA user_version"), 1);
    EXPECT_EQ(*(*copy)->QueryInt("SELECT sum(a) FROM t"), 500500);
  }
};

TEST_F(InterruptedMigrationTest, WithoutRoomForTheCopyNothingIsTouched) {
  {
    const FileSizeLimit limit(std::filesystem::file_size(path_) / 2);
    EXPECT_THAT(Migrate(*database_, {kLarge, kLarger}),
                Fails(StatusCode::kResourceExhausted, "copy before migrating to " + path_));
  }
  EXPECT_FALSE(std::filesystem::exists(path_ + ".v1.bak"));
  EXPECT_FALSE(std::filesystem::exists(path_ + ".v1.bak.part"));
  CheckOldVersionAndMigrate();
}

TEST_F(InterruptedMigrationTest, WithoutRoomForTheNewTablesTheOldVersionStays) {
  {
    const FileSizeLimit limit(2 * std::filesystem::file_size(path_));
    EXPECT_THAT(Migrate(*database_, {kLarge, kLarger}),
                Fails(StatusCode::kResourceExhausted, path_));
  }
  EXPECT_TRUE(std::filesystem::exists(path_ + ".v1.bak"));
  CheckOldVersionAndMigrate();
}

TEST_F(InterruptedMigrationTest, AProcessKilledHalfwayLeavesTheOldVersion) {
  database_.reset();
  const pid_t child = fork();
  if (child == 0) {
    auto database = Database::Open(path_, Database::Mode::kCreate);
    if (!database.ok()) _exit(1);
    const std::string endless =
        absl::StrCat(kLarger,
                     "; WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
                     "SELECT count(*) FROM n");
    const absl::Status status = Migrate(**database, {kLarge, endless.c_str()});
    _exit(status.ok() ? 2 : 3);
  }
  // Its changes outgrow the cache and go to the log, long before they would be committed.
  const absl::Time until = absl::Now() + absl::Seconds(60);
  std::error_code error;
  while (absl::Now() < until &&
         (std::filesystem::file_size(path_ + "-wal", error) < (1u << 20) || error)) {
    absl::SleepFor(absl::Milliseconds(2));
  }
  EXPECT_FALSE(error);
  kill(child, SIGKILL);
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_TRUE(WIFSIGNALED(status)) << "exit " << WEXITSTATUS(status);
  EXPECT_TRUE(std::filesystem::exists(path_ + ".v1.bak"));
  CheckOldVersionAndMigrate();
}

std::string SchemaText(Database& database) {
  std::string text;
  auto rows = database.Query("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name");
  while (*rows->Step()) absl::StrAppend(&text, rows->Bytes(0), "\n");
  return text;
}

// golden/vN.sql is a dump of a file that version N wrote. Every later version must read it, and
// version N itself may not change any more.
class GoldenFileTest : public MigrationsTest {
 protected:
  // Makes the file at path_ from the dump, checks its schema against the program's, opens it.
  void Load(size_t version) {
    const auto sql = ReadFile(absl::StrCat(AMC_STORAGE_GOLDEN "/v", version, ".sql"));
    ASSERT_THAT(sql, IsOk());
    ASSERT_THAT(database_->Execute(*sql), IsOk());
    ASSERT_EQ(Version(), static_cast<int64_t>(version));
    ASSERT_EQ(*database_->QueryInt("PRAGMA application_id"), kApplicationId);
    schema_ = SchemaText(*database_);
    database_.reset();
    {
      const auto fresh = Database::Open(folder_.path() + "/fresh", Database::Mode::kCreate);
      ASSERT_THAT(fresh, IsOk());
      ASSERT_THAT(rows::DefineZoneFunction(**fresh), IsOk());
      ASSERT_THAT(Migrate(**fresh, SchemaMigrations().subspan(0, version)), IsOk());
      EXPECT_EQ(SchemaText(**fresh), schema_);
    }
    auto opened = OpenSqliteStore(path_);
    ASSERT_THAT(opened, IsOk());
    store_ = *std::move(opened);
    database_ = *Database::Open(path_, Database::Mode::kReadOnly);
    EXPECT_EQ(Version(), static_cast<int64_t>(SchemaMigrations().size()));
  }
  // That the file as it was is kept beside the present one.
  void CheckCopy(size_t version) {
    const auto copy =
        Database::Open(absl::StrCat(path_, ".v", version, ".bak"), Database::Mode::kReadOnly);
    ASSERT_THAT(copy, IsOk());
    EXPECT_EQ(*(*copy)->QueryInt("PRAGMA user_version"), static_cast<int64_t>(version));
    EXPECT_EQ(SchemaText(**copy), schema_);
    EXPECT_EQ(*(*copy)->QueryInt("SELECT count(*) FROM jobs WHERE id = 'golden'"), 1);
    EXPECT_EQ(*(*copy)->QueryInt("SELECT count(*) FROM episodes"), 2);
  }

  std::string schema_;
  std::unique_ptr<Store> store_;
};

TEST_F(GoldenFileTest, Version1IsRead) {
  ASSERT_NO_FATAL_FAILURE(Load(1));
  CheckCopy(1);
  const auto job = store_->GetJob("golden");
  ASSERT_THAT(job, IsOk());
  v1::Job expected = SampleJob("golden");
  expected.set_state(v1::JOB_STATE_SEARCHING);
  expected.set_episodes_done(2);
  expected.set_numerics_id("avx512");
  expected.set_last_sequence(3);
  EXPECT_THAT(*job, SameAs(expected));
  EXPECT_EQ(store_->Events("golden", 0, 10)->size(), 3u);
  EXPECT_THAT(*store_->GetEpisode("golden", 0), SameAs(SampleEpisode("golden", 0, 0.25)));
  EXPECT_THAT(*store_->BestEpisode("golden"), SameAs(SampleEpisode("golden", 1, 0.75)));
  EXPECT_EQ(*store_->Checkpoint("golden"), "weights");
  const auto tasks = store_->Tasks("golden");
  ASSERT_EQ(tasks->size(), 1u);
  EXPECT_EQ((*tasks)[0].task, 3);
  EXPECT_EQ((*tasks)[0].state, TaskState::kLeased);
  EXPECT_EQ((*tasks)[0].crashed_attempts, 0);
  EXPECT_EQ((*tasks)[0].reuse_key, "");
  EXPECT_EQ(store_->Attempts("golden")->size(), 3u);
  EXPECT_THAT(store_->CompleteTask("golden", 3, 1, SampleResult(), 9), IsOk());
  EXPECT_THAT(store_->CompleteTask("golden", 1, 1, SampleResult(), 9), IsOk());  // a repeat
  EXPECT_EQ(*database_->QueryInt("SELECT count(*) FROM measurements"), 0);
  EXPECT_EQ(store_->ListWorkers({})->workers(0).uuid(), "w");
  EXPECT_EQ(store_->GetArtifact(std::string(64, 'a'))->name(), "net.onnx");
  // Nobody had noted uses: an artifact counts from its upload.
  EXPECT_EQ(*database_->QueryInt("SELECT use_time_ms FROM artifacts"), 5);
  EXPECT_TRUE(store_->CollectArtifacts(5)->empty());
  EXPECT_EQ(store_->CollectArtifacts(6)->size(), 1u);
  EXPECT_EQ((*store_->AddTasks({SampleTask("golden", 9)}))[0].task, 4);
}

TEST_F(GoldenFileTest, Version2IsRead) {
  ASSERT_NO_FATAL_FAILURE(Load(2));
  if (SchemaMigrations().size() > 2) CheckCopy(2);
  const std::string model(64, 'a'), data(64, 'd');
  const auto job = store_->GetJob("golden");
  ASSERT_THAT(job, IsOk());
  v1::Job expected = SampleJob("golden");
  expected.mutable_spec()->set_model(model);
  expected.mutable_spec()->set_data(data);
  expected.mutable_spec()->set_priority(3);
  expected.mutable_spec()->set_reuse(true);
  expected.set_state(v1::JOB_STATE_SEARCHING);
  expected.set_episodes_done(2);
  expected.set_numerics_id("avx512");
  expected.set_last_sequence(3);
  EXPECT_THAT(*job, SameAs(expected));
  EXPECT_EQ(store_->Events("golden", 0, 10)->size(), 3u);
  EXPECT_EQ(*store_->Checkpoint("golden"), "weights");

  v1::Episode infeasible = SampleEpisode("golden", 1);
  infeasible.set_state(v1::EPISODE_STATE_INFEASIBLE);
  infeasible.clear_measurement();
  infeasible.clear_reward();
  infeasible.set_infeasible("conv1 has no channel left");
  EXPECT_THAT(*store_->GetEpisode("golden", 1), SameAs(infeasible));
  EXPECT_THAT(*store_->BestEpisode("golden"), SameAs(SampleEpisode("golden", 0, 0.25)));
  v1::ListEpisodesRequest list;
  list.set_job("golden");
  list.mutable_filter()->set_min_reward(-1e308);
  EXPECT_EQ(store_->ListEpisodes(list)->episodes_size(), 1);

  const auto tasks = store_->Tasks("golden");
  ASSERT_THAT(tasks, IsOk());
  ASSERT_EQ(tasks->size(), 2u);
  EXPECT_TRUE((*tasks)[0].reused());
  EXPECT_EQ((*tasks)[0].worker, "w");
  EXPECT_THAT(*(*tasks)[0].result, SameAs(SampleResult()));
  EXPECT_EQ((*tasks)[1].state, TaskState::kLeased);
  EXPECT_EQ((*tasks)[1].epoch, 2);
  EXPECT_EQ((*tasks)[1].crashed_attempts, 1);
  EXPECT_EQ((*tasks)[1].reuse_key, model + ":k3");
  const auto crashed = store_->GetAttempt("golden", 4, 1);
  ASSERT_THAT(crashed, IsOk());
  EXPECT_EQ(crashed->outcome, AttemptOutcome::kCrashed);
  EXPECT_EQ(crashed->message, "killed by signal 11");
  EXPECT_THAT(store_->CompleteTask("golden", 4, 2, SampleResult(0.5), 9), IsOk());
  EXPECT_THAT(store_->CompleteTask("golden", 1, 1, SampleResult(), 9), IsOk());  // a repeat

  // What was measured then answers now.
  const char* const hashes[] = {":k0", ":k1", ":k3", ":k4"};
  std::vector<TaskRecord> candidates;
  for (const char* hash : hashes) {
    candidates.push_back(SampleTask("golden", 10 + static_cast<int64_t>(candidates.size())));
    candidates.back().reuse_key = model + hash;
  }
  const auto added = store_->AddTasks(candidates);
  ASSERT_THAT(added, IsOk());
  EXPECT_EQ((*added)[0].task, 5);
  EXPECT_THAT(*(*added)[0].result, SameAs(SampleResult()));
  EXPECT_EQ((*added)[1].result->infeasible(), "conv1 has no channel left");
  EXPECT_THAT(*(*added)[2].result, SameAs(SampleResult(0.5)));
  EXPECT_EQ((*added)[3].state, TaskState::kPending);

  EXPECT_EQ(store_->ListWorkers({})->workers(0).state(), v1::WORKER_STATE_CRASHED);
  EXPECT_EQ(store_->GetArtifact(data)->name(), "cifar.amcpack");
  EXPECT_EQ(*store_->ArtifactBytes(), 412);
  EXPECT_EQ(*database_->QueryInt("SELECT max(use_time_ms) FROM artifacts"), 1700000000500);
  EXPECT_TRUE(store_->CollectArtifacts(INT64_MAX)->empty());  // the job names both
}

// Before there were kinds of episodes every one was a candidate.
TEST_F(GoldenFileTest, Version3IsRead) {
  ASSERT_NO_FATAL_FAILURE(Load(3));
  CheckCopy(3);
  EXPECT_THAT(*store_->BestEpisode("golden"), SameAs(SampleEpisode("golden", 0, 0.25)));
  v1::ListEpisodesRequest list;
  list.set_job("golden");
  list.mutable_filter()->add_kinds(v1::EPISODE_KIND_CANDIDATE);
  EXPECT_EQ(store_->ListEpisodes(list)->episodes_size(), 2);
  list.mutable_filter()->set_kinds(0, v1::EPISODE_KIND_PROBE);
  EXPECT_EQ(store_->ListEpisodes(list)->episodes_size(), 0);
  const auto tasks = store_->Tasks("golden");
  ASSERT_THAT(tasks, IsOk());
  for (const TaskRecord& task : *tasks) EXPECT_EQ(task.images, 0);
}

// Before there were latency tables.
TEST_F(GoldenFileTest, Version4IsRead) {
  ASSERT_NO_FATAL_FAILURE(Load(4));
  CheckCopy(4);
  v1::Episode candidate = SampleEpisode("golden", 0, 0.25);
  candidate.set_kind(v1::EPISODE_KIND_CANDIDATE);
  EXPECT_THAT(*store_->BestEpisode("golden"), SameAs(candidate));
  v1::ListEpisodesRequest list;
  list.set_job("golden");
  list.mutable_filter()->add_kinds(v1::EPISODE_KIND_PROBE);
  const auto probes = store_->ListEpisodes(list);
  ASSERT_THAT(probes, IsOk());
  ASSERT_EQ(probes->episodes_size(), 1);
  EXPECT_EQ(probes->episodes(0).number(), 1);
  const auto tasks = store_->Tasks("golden");
  ASSERT_THAT(tasks, IsOk());
  ASSERT_EQ(tasks->size(), 1u);
  EXPECT_EQ((*tasks)[0].images, 200);
  EXPECT_THAT(store_->CompleteTask("golden", 3, 1, SampleResult(), 9), IsOk());

  EXPECT_EQ(store_->ListLatencyTables({})->tables_size(), 0);
  const std::string digest(64, 'e');
  v1::LatencyTableInfo info;
  info.set_digest(digest);
  ASSERT_THAT(store_->PutLatencyTable(info, {}), IsOk());
  EXPECT_EQ(store_->ListLatencyTables({})->tables(0).digest(), digest);
}

}  // namespace
}  // namespace amc
