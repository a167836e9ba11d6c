// Latency tables in the store: by digest, by its beginning, in pages, and who keeps one from going.
#include "absl/strings/str_cat.h"
#include "tests/storage/store_fixture.h"

namespace amc {
namespace {

using absl::StatusCode;
using testing::ElementsAre;

const std::string kDigest(64, 'a'), kOther(64, 'b');

v1::LatencyTable SampleTable() {
  v1::LatencyTable table;
  v1::LatencySetting& setting = *table.mutable_setting();
  setting.set_device("Pixel 7");
  setting.set_runtime("ncnn");
  setting.set_version("20240820");
  setting.set_threads(2);
  setting.set_batch(1);
  table.set_date("2026-11-20");
  table.set_tolerance(0.05);
  for (const int64_t out : {8, 16}) {
    v1::LatencyRow& row = *table.add_rows();
    row.set_layer("conv 3x3");
    row.set_in(3);
    row.set_out(out);
    row.set_median_us(1.5 * static_cast<double>(out));
  }
  v1::LatencyFit& fit = *table.add_fits();
  fit.set_layers(0.9);
  fit.set_p95_error(0.04);
  return table;
}

v1::LatencyTableInfo SampleInfo(const std::string& digest, int64_t import_ms = 100) {
  const v1::LatencyTable table = SampleTable();
  v1::LatencyTableInfo info;
  info.set_digest(digest);
  *info.mutable_setting() = table.setting();
  info.set_date(table.date());
  info.set_rows(table.rows_size());
  info.set_layers(1);
  *info.mutable_fits() = table.fits();
  info.set_import_time_ms(import_ms);
  return info;
}

class StoreLatencyTest : public StoreTest {
 protected:
  void Put(const std::string& digest, int64_t import_ms = 100) {
    ASSERT_THAT(store_->PutLatencyTable(SampleInfo(digest, import_ms), SampleTable()), IsOk());
  }
  absl::Status Submit(const std::string& id, const std::string& table) {
    v1::Job job = SampleJob(id);
    job.mutable_spec()->mutable_latency()->set_table(table);
    return store_->CreateJob(job, "request-" + id, "hash", {}).status();
  }
  std::vector<std::string> Digests(const v1::ListLatencyTablesResponse& response) {
    std::vector<std::string> digests;
    for (const v1::LatencyTableInfo& info : response.tables()) digests.push_back(info.digest());
    return digests;
  }
};

TEST_F(StoreLatencyTest, KeepsThemToTheLastBit) {
  EXPECT_THAT(store_->GetLatencyTable(kDigest), Fails(StatusCode::kNotFound, kDigest));
  const auto stored = store_->PutLatencyTable(SampleInfo(kDigest), SampleTable());
  ASSERT_THAT(stored, IsOk());
  EXPECT_THAT(*stored, SameAs(SampleInfo(kDigest)));
  Reopen();
  EXPECT_THAT(*store_->GetLatencyTable(kDigest), SameAs(SampleTable()));
  EXPECT_THAT(*store_->FindLatencyTable(kDigest), SameAs(SampleInfo(kDigest)));
  EXPECT_THAT(store_->ListLatencyTables({})->tables(0), SameAs(SampleInfo(kDigest)));
}

TEST_F(StoreLatencyTest, TheFirstImportCounts) {
  Put(kDigest, 100);
  const auto again = store_->PutLatencyTable(SampleInfo(kDigest, 900), SampleTable());
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(again->import_time_ms(), 100);
  EXPECT_EQ(Sql("SELECT count(*) FROM latency_tables"), 1);
}

TEST_F(StoreLatencyTest, NeedADigest) {
  for (const std::string& digest : {std::string(), std::string(63, 'a'), std::string(64, 'A')}) {
    EXPECT_THAT(store_->PutLatencyTable(SampleInfo(digest), SampleTable()),
                Fails(StatusCode::kInvalidArgument, "sha256"));
  }
}

TEST_F(StoreLatencyTest, FoundByTheBeginningOfTheDigest) {
  const std::string zeros(64, '0'), ends = std::string(63, '0') + "f", full(64, 'f');
  for (const std::string& digest : {zeros, ends, full}) Put(digest);
  EXPECT_EQ(store_->FindLatencyTable(zeros)->digest(), zeros);
  EXPECT_EQ(store_->FindLatencyTable(ends)->digest(), ends);
  EXPECT_EQ(store_->FindLatencyTable("ffffff")->digest(), full);
  EXPECT_THAT(store_->FindLatencyTable("000000"),
              Fails(StatusCode::kInvalidArgument, absl::StrCat(zeros, ", ", ends)));
  EXPECT_THAT(store_->FindLatencyTable("fffff"), Fails(StatusCode::kInvalidArgument, "6 digits"));
  EXPECT_THAT(store_->FindLatencyTable(""), Fails(StatusCode::kInvalidArgument, "6 digits"));
  for (const std::string& unknown : {std::string("000001"), std::string("FFFFFF"), full + "f",
                                     std::string("ffffff%"), std::string("zzzzzz")}) {
    EXPECT_THAT(store_->FindLatencyTable(unknown), Fails(StatusCode::kNotFound, unknown));
  }
}

TEST_F(StoreLatencyTest, AmbiguousBeginningsNameSomeOnly) {
  for (int i = 0; i < 9; ++i) Put(absl::StrCat(std::string(63, 'c'), i));
  EXPECT_THAT(store_->FindLatencyTable("cccccc"),
              Fails(StatusCode::kInvalidArgument, std::string(63, 'c') + "4, others"));
}

TEST_F(StoreLatencyTest, ListedNewestFirstInPages) {
  const std::string c(64, 'c'), d(64, 'd'), e(64, 'e'), f(64, 'f');
  Put(c, 30);
  Put(d, 10);
  Put(e, 20);
  Put(f, 20);  // of the same millisecond
  v1::ListLatencyTablesRequest request;
  EXPECT_THAT(Digests(*store_->ListLatencyTables(request)), ElementsAre(c, f, e, d));
  request.set_page_size(2);
  auto page = store_->ListLatencyTables(request);
  ASSERT_THAT(page, IsOk());
  EXPECT_THAT(Digests(*page), ElementsAre(c, f));
  // Neither what comes meanwhile moves the next page, nor that its key has gone.
  Put(kDigest, 40);
  ASSERT_THAT(store_->DeleteLatencyTable(f), IsOk());
  request.set_page_token(page->next_page_token());
  page = store_->ListLatencyTables(request);
  ASSERT_THAT(page, IsOk());
  EXPECT_THAT(Digests(*page), ElementsAre(e, d));
  EXPECT_EQ(page->next_page_token(), "");
}

TEST_F(StoreLatencyTest, PagesHaveADefaultAndACap) {
  for (int i = 0; i < 102; ++i) Put(absl::StrCat(std::string(60, '0'), 1000 + i), i);
  v1::ListLatencyTablesRequest request;
  EXPECT_EQ(store_->ListLatencyTables(request)->tables_size(), 20);
  request.set_page_size(5000);
  EXPECT_EQ(store_->ListLatencyTables(request)->tables_size(), 100);
  request.set_page_size(-1);
  EXPECT_THAT(store_->ListLatencyTables(request), Fails(StatusCode::kInvalidArgument, "-1"));
  request.set_page_size(1);
  request.set_page_token("no token!");
  EXPECT_THAT(store_->ListLatencyTables(request),
              Fails(StatusCode::kInvalidArgument, "page_token"));
}

TEST_F(StoreLatencyTest, AJobNeedsItsTable) {
  EXPECT_THAT(Submit("a", kDigest), Fails(StatusCode::kNotFound, kDigest));
  EXPECT_THAT(store_->GetJob("a"), Fails(StatusCode::kNotFound, "\"a\""));
  Put(kDigest);
  EXPECT_THAT(Submit("a", kDigest), IsOk());
  EXPECT_THAT(Submit("b", ""), IsOk());
}

TEST_F(StoreLatencyTest, StaysWhileAJobNamesItEndedOrNot) {
  Put(kDigest);
  Put(kOther);
  ASSERT_THAT(Submit("a", kDigest), IsOk());
  ASSERT_THAT(store_->DeleteLatencyTable(kOther), IsOk());
  for (const v1::JobState state :
       {v1::JOB_STATE_QUEUED, v1::JOB_STATE_BASELINE, v1::JOB_STATE_SEARCHING,
        v1::JOB_STATE_FINISHING, v1::JOB_STATE_SUCCEEDED, v1::JOB_STATE_FAILED,
        v1::JOB_STATE_CANCELLED}) {
    SetState("a", state);
    EXPECT_THAT(store_->DeleteLatencyTable(kDigest),
                Fails(StatusCode::kFailedPrecondition,
                      absl::StrCat("job \"a\", which is ", v1::JobState_Name(state))));
  }
  EXPECT_THAT(store_->GetLatencyTable(kDigest), IsOk());
  ASSERT_THAT(Submit("b", kDigest), IsOk());
  EXPECT_THAT(store_->DeleteLatencyTable(kDigest),
              Fails(StatusCode::kFailedPrecondition,
                    "job \"a\", which is JOB_STATE_CANCELLED, and by 1 more: delete"));
  ASSERT_THAT(store_->DeleteJob("a"), IsOk());
  SetState("b", v1::JOB_STATE_SUCCEEDED);
  EXPECT_THAT(store_->DeleteLatencyTable(kDigest),
              Fails(StatusCode::kFailedPrecondition,
                    "job \"b\", which is JOB_STATE_SUCCEEDED: delete the job first"));
  ASSERT_THAT(store_->DeleteJob("b"), IsOk());
  EXPECT_THAT(store_->DeleteLatencyTable(kDigest), IsOk());
  EXPECT_THAT(store_->DeleteLatencyTable(kDigest), Fails(StatusCode::kNotFound, kDigest));
}

// A digest elsewhere in a job is no need of the table.
TEST_F(StoreLatencyTest, ATableIsNeededByWhatNamesItAsOne) {
  Put(kDigest);
  v1::Job job = SampleJob("a");
  job.mutable_spec()->set_name(kDigest);
  ASSERT_THAT(store_->CreateJob(job, "request", "hash", {}), IsOk());
  EXPECT_THAT(store_->DeleteLatencyTable(kDigest), IsOk());
}

TEST_F(StoreLatencyTest, ABackupHasThem) {
  Put(kDigest);
  const std::string copy = folder_.path() + "/copy.db";
  ASSERT_THAT(store_->BackupTo(copy), IsOk());
  const auto opened = OpenSqliteStore(copy);
  ASSERT_THAT(opened, IsOk());
  EXPECT_THAT(*(*opened)->GetLatencyTable(kDigest), SameAs(SampleTable()));
}

}  // namespace
}  // namespace amc
