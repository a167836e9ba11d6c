// From old files to the present schema, with steps of the test's own and with a golden old file.
#include "storage/migrations.h"

#include "absl/strings/str_cat.h"
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
  ASSERT_THAT(Migrate(*database_, SchemaMigrations()), IsOk());
  ASSERT_THAT(database_->Execute("PRAGMA user_version = 1000"), IsOk());
  database_.reset();
  EXPECT_THAT(OpenSqliteStore(path_), Fails(StatusCode::kFailedPrecondition, "version 1000"));
  EXPECT_THAT(OpenSqliteStore(path_), Fails(StatusCode::kFailedPrecondition,
                                            absl::StrCat("up to ", SchemaMigrations().size())));
  Open();
  EXPECT_EQ(Version(), 1000);
}

std::string SchemaText(Database& database) {
  std::string text;
  auto rows = database.Query("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name");
  while (*rows->Step()) absl::StrAppend(&text, rows->Bytes(0), "\n");
  return text;
}

// golden/v1.sql is a dump of a file that version 1 wrote. Every later version must read it, and
// version 1 itself may not change any more.
TEST_F(MigrationsTest, FileOfVersion1IsReadByThePresentStore) {
  const auto sql = ReadFile(AMC_STORAGE_GOLDEN "/v1.sql");
  ASSERT_THAT(sql, IsOk());
  ASSERT_THAT(database_->Execute(*sql), IsOk());
  ASSERT_EQ(Version(), 1);
  const std::string golden_schema = SchemaText(*database_);
  database_.reset();
  {
    const std::string fresh = folder_.path() + "/fresh";
    auto database = Database::Open(fresh, Database::Mode::kCreate);
    ASSERT_THAT(database, IsOk());
    ASSERT_THAT(Migrate(**database, SchemaMigrations().subspan(0, 1)), IsOk());
    EXPECT_EQ(SchemaText(**database), golden_schema);
  }

  const auto opened = OpenSqliteStore(path_);
  ASSERT_THAT(opened, IsOk());
  Store& store = **opened;
  const auto job = store.GetJob("golden");
  ASSERT_THAT(job, IsOk());
  v1::Job expected = SampleJob("golden");
  expected.set_state(v1::JOB_STATE_SEARCHING);
  expected.set_episodes_done(2);
  expected.set_numerics_id("avx512");
  expected.set_last_sequence(3);
  EXPECT_THAT(*job, SameAs(expected));
  EXPECT_EQ(store.Events("golden", 0, 10)->size(), 3u);
  EXPECT_THAT(*store.GetEpisode("golden", 0), SameAs(SampleEpisode("golden", 0, 0.25)));
  EXPECT_THAT(*store.BestEpisode("golden"), SameAs(SampleEpisode("golden", 1, 0.75)));
  EXPECT_EQ(*store.Checkpoint("golden"), "weights");
  const auto tasks = store.Tasks("golden");
  ASSERT_EQ(tasks->size(), 1u);
  EXPECT_EQ((*tasks)[0].task, 3);
  EXPECT_EQ((*tasks)[0].state, TaskState::kLeased);
  EXPECT_EQ(store.Attempts("golden")->size(), 3u);
  EXPECT_THAT(store.CompleteTask("golden", 3, 1, SampleResult(), 9), IsOk());
  EXPECT_THAT(store.CompleteTask("golden", 1, 1, SampleResult(), 9), IsOk());  // a repeat
  EXPECT_EQ(store.ListWorkers({})->workers(0).uuid(), "w");
  EXPECT_EQ(store.GetArtifact(std::string(64, 'a'))->name(), "net.onnx");
  EXPECT_EQ((*store.AddTasks({SampleTask("golden", 9)}))[0].task, 4);
}

}  // namespace
}  // namespace amc
