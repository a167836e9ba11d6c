// The wrapper around sqlite3: values, transactions and the codes of its errors.
#include "storage/sqlite.h"

#include <sys/stat.h>

#include <limits>

#include "tests/storage/store_fixture.h"

namespace amc::sqlite {
namespace {

using absl::StatusCode;

class SqliteTest : public testing::Test {
 protected:
  SqliteTest() : folder_(*TempDirectory::Create("amc-sqlite")), path_(folder_.path() + "/t.db") {
    database_ = *Database::Open(path_, Database::Mode::kCreate);
    EXPECT_THAT(database_->Execute("CREATE TABLE t (a, b UNIQUE)"), IsOk());
  }
  int64_t Count() { return *database_->QueryInt("SELECT count(*) FROM t"); }

  TempDirectory folder_;
  std::string path_;
  std::unique_ptr<Database> database_;
};

TEST_F(SqliteTest, ValuesComeBackAsTheyWereBound) {
  const std::string binary("\0\x01\xff", 3);
  const double tiny = std::numeric_limits<double>::denorm_min();
  ASSERT_THAT(database_->Run("INSERT INTO t VALUES (?, ?)", INT64_MIN, Blob{binary}), IsOk());
  ASSERT_THAT(database_->Run("INSERT INTO t VALUES (?, ?)", tiny, "text"), IsOk());
  ASSERT_THAT(database_->Run("INSERT INTO t VALUES (?, ?)", true, Blob{""}), IsOk());
  auto rows = database_->Query("SELECT a, b, NULL FROM t ORDER BY rowid");
  ASSERT_THAT(rows, IsOk());
  ASSERT_TRUE(*rows->Step());
  EXPECT_EQ(rows->Int(0), INT64_MIN);
  EXPECT_EQ(rows->Text(1), binary);
  EXPECT_TRUE(rows->IsNull(2));
  ASSERT_TRUE(*rows->Step());
  EXPECT_EQ(rows->Real(0), tiny);
  EXPECT_EQ(rows->Text(1), "text");
  ASSERT_TRUE(*rows->Step());
  EXPECT_EQ(rows->Int(0), 1);
  EXPECT_FALSE(rows->IsNull(1));  // empty is not NULL
  EXPECT_EQ(rows->Text(1), "");
  EXPECT_FALSE(*rows->Step());
}

TEST_F(SqliteTest, AQueryMayRunInsideTheSameQuery) {
  for (int i = 0; i < 3; ++i) {
    ASSERT_THAT(database_->Run("INSERT INTO t VALUES (?, ?)", i, i), IsOk());
  }
  const std::string sql = "SELECT a FROM t WHERE a >= ? ORDER BY a";
  auto outer = database_->Query(sql, 1);
  ASSERT_TRUE(*outer->Step());
  {
    auto inner = database_->Query(sql, 2);
    ASSERT_TRUE(*inner->Step());
    EXPECT_EQ(inner->Int(0), 2);
  }
  EXPECT_EQ(outer->Int(0), 1);
  ASSERT_TRUE(*outer->Step());
  EXPECT_EQ(outer->Int(0), 2);
}

TEST_F(SqliteTest, RunSaysHowManyRowsItChanged) {
  for (int i = 0; i < 3; ++i) EXPECT_EQ(*database_->Run("INSERT INTO t VALUES (1, ?)", i), 1);
  EXPECT_EQ(*database_->Run("UPDATE t SET a = ?", 2), 3);
}

TEST_F(SqliteTest, TransactionIsUndoneUnlessCommitted) {
  {
    auto transaction = Transaction::Begin(*database_, Transaction::Kind::kWrite);
    ASSERT_THAT(transaction, IsOk());
    ASSERT_THAT(database_->Run("INSERT INTO t VALUES (1, 1)"), IsOk());
    EXPECT_TRUE(database_->InTransaction());
  }
  EXPECT_FALSE(database_->InTransaction());
  EXPECT_EQ(Count(), 0);
  {
    auto transaction = Transaction::Begin(*database_, Transaction::Kind::kWrite);
    ASSERT_THAT(database_->Run("INSERT INTO t VALUES (1, 1)"), IsOk());
    ASSERT_THAT(transaction->Commit(), IsOk());
  }
  EXPECT_EQ(Count(), 1);
}

TEST_F(SqliteTest, ErrorsNameThePathAndHaveCodes) {
  EXPECT_THAT(database_->Execute("SELECT * FROM nothing"), Fails(StatusCode::kInternal, path_));
  EXPECT_THAT(database_->Query("SELECT ?", 1, 2), Fails(StatusCode::kInternal, "parameter 2"));
  ASSERT_THAT(database_->Run("INSERT INTO t VALUES (1, 1)"), IsOk());
  EXPECT_THAT(database_->Run("INSERT INTO t VALUES (2, 1)"),
              Fails(StatusCode::kAlreadyExists, "UNIQUE"));
  EXPECT_THAT(Database::Open(folder_.path() + "/none.db", Database::Mode::kReadOnly),
              Fails(StatusCode::kNotFound, "none.db"));
  EXPECT_THAT(Database::Open(folder_.path() + "/no/folder.db", Database::Mode::kCreate),
              Fails(StatusCode::kNotFound, "folder.db"));
}

TEST_F(SqliteTest, ReadOnlyConnectionCannotWrite) {
  auto reader = Database::Open(path_, Database::Mode::kReadOnly);
  ASSERT_THAT(reader, IsOk());
  EXPECT_THAT((*reader)->Run("INSERT INTO t VALUES (1, 1)"),
              Fails(StatusCode::kPermissionDenied, path_));
}

TEST_F(SqliteTest, AQueryPastItsWorkLimitIsCancelled) {
  const std::string endless =
      "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
  {
    const WorkLimit limit(*database_, 100000);
    EXPECT_EQ(*database_->QueryInt("SELECT count(*) FROM t"), 0);  // within the limit
    EXPECT_THAT(database_->QueryInt(endless), Fails(StatusCode::kCancelled, path_));
  }
  EXPECT_EQ(*database_->QueryInt(
                "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000) "
                "SELECT count(*) FROM n"),
            50000);
}

TEST_F(SqliteTest, ForeignKeysAreEnforced) {
  ASSERT_THAT(database_->Execute("CREATE TABLE p (k INTEGER PRIMARY KEY);"
                                 "CREATE TABLE c (k REFERENCES p (k))"),
              IsOk());
  EXPECT_THAT(database_->Run("INSERT INTO c VALUES (1)"),
              Fails(StatusCode::kInternal, "FOREIGN KEY"));
}

TEST_F(SqliteTest, AnotherWriterMakesItUnavailable) {
  auto other = Database::Open(path_, Database::Mode::kCreate);
  ASSERT_THAT(other, IsOk());
  ASSERT_THAT((*other)->Execute("PRAGMA busy_timeout = 10"), IsOk());
  auto transaction = Transaction::Begin(*database_, Transaction::Kind::kWrite);
  ASSERT_THAT(transaction, IsOk());
  EXPECT_THAT(Transaction::Begin(**other, Transaction::Kind::kWrite),
              Fails(StatusCode::kUnavailable, "locked"));
}

TEST_F(SqliteTest, AFullDatabaseIsResourceExhausted) {
  ASSERT_THAT(database_->Execute("PRAGMA max_page_count = 10"), IsOk());
  EXPECT_THAT(database_->Run("INSERT INTO t VALUES (1, ?)", Blob{std::string(100000, 'x')}),
              Fails(StatusCode::kResourceExhausted, "free space"));
  EXPECT_EQ(Count(), 0);
}

TEST_F(SqliteTest, AFileThatIsNoDatabaseIsDataLoss) {
  const std::string path = folder_.path() + "/text.db";
  ASSERT_THAT(WriteFileAtomically(path, std::string(5000, 'x')), IsOk());
  EXPECT_THAT(Database::Open(path, Database::Mode::kCreate), Fails(StatusCode::kDataLoss, path));
}

TEST_F(SqliteTest, BackupIsAWholeDatabaseAndReplacesAnOlderOne) {
  const std::string copy = folder_.path() + "/copy.db";
  ASSERT_THAT(WriteFileAtomically(copy, "an older file"), IsOk());
  ASSERT_THAT(database_->Run("INSERT INTO t VALUES (7, 1)"), IsOk());
  ASSERT_THAT(database_->Execute("PRAGMA user_version = 5"), IsOk());
  ASSERT_THAT(database_->BackupTo(copy), IsOk());
  auto opened = Database::Open(copy, Database::Mode::kCreate);
  ASSERT_THAT(opened, IsOk());
  EXPECT_EQ(*(*opened)->QueryInt("SELECT a FROM t"), 7);
  EXPECT_EQ(*(*opened)->QueryInt("PRAGMA user_version"), 5);
  EXPECT_THAT(database_->BackupTo(folder_.path() + "/no/copy.db"),
              Fails(StatusCode::kNotFound, "copy.db"));
}

TEST_F(SqliteTest, BackupOfALockedDatabaseIsUnavailableNotEmpty) {
  ASSERT_THAT(database_->Execute("PRAGMA journal_mode = DELETE; PRAGMA busy_timeout = 10"), IsOk());
  auto other = Database::Open(path_, Database::Mode::kReadOnly);
  ASSERT_THAT(other, IsOk());
  ASSERT_THAT(database_->Execute("BEGIN EXCLUSIVE"), IsOk());
  const std::string copy = folder_.path() + "/copy.db";
  ASSERT_THAT((*other)->Execute("PRAGMA busy_timeout = 10"), IsOk());
  EXPECT_THAT((*other)->BackupTo(copy), Fails(StatusCode::kUnavailable, "locked"));
  EXPECT_THAT(ReadFile(copy), Fails(StatusCode::kNotFound, copy));
  ASSERT_THAT(database_->Execute("COMMIT"), IsOk());
  EXPECT_THAT((*other)->BackupTo(copy), IsOk());
}

}  // namespace
}  // namespace amc::sqlite
