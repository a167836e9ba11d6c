// Latency tables over the wire: what is taken, what is refused and why, and what keeps a table.
#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "amc/v1/latency.grpc.pb.h"
#include "base/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/latency_service.h"
#include "server/rpc/latency_convert.h"
#include "server/rpc/status_convert.h"
#include "storage/store.h"
#include "tests/server/server_fixture.h"

namespace amc {
namespace {

using absl::StatusCode;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// A 2 x 2 grid of each layer.
LatencyTable SampleTable(const std::vector<std::string>& layers = {"conv 3x3 s1", "linear r1"}) {
  LatencyTable table;
  table.setting = {
      .device = "Pixel 7", .runtime = "ncnn", .version = "20240820", .threads = 2, .batch = 1};
  table.date = "2026-11-20";
  table.tolerance = 0.05;
  for (const std::string& layer : layers) {
    for (const int64_t in : {4, 8}) {
      for (const int64_t out : {16, 32}) {
        table.rows.push_back({layer, in, out, 0.1 * static_cast<double>(in * out), 0.25});
      }
    }
  }
  table.fits.push_back({.layers = 0.9, .byte_us = 1e-5, .networks = 12, .p95_error = 0.04});
  return table;
}

class LatencyServiceTest : public ServerTest {
 protected:
  using Stub = v1::LatencyService::Stub;

  template <typename Request, typename Response>
  absl::StatusOr<Response> Call(grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                             Response*),
                                const Request& request) {
    const auto stub = v1::LatencyService::NewStub(channel_);
    grpc::ClientContext context;
    Response response;
    const grpc::Status status = ((*stub).*method)(&context, request, &response);
    if (!status.ok()) return FromGrpcStatus(status);
    return response;
  }
  absl::StatusOr<v1::LatencyTableInfo> Import(const v1::LatencyTable& table,
                                              const std::string& extend = "") {
    v1::ImportLatencyTableRequest request;
    *request.mutable_table() = table;
    request.set_extend(extend);
    return Call(&Stub::ImportLatencyTable, request);
  }
  absl::StatusOr<v1::LatencyTableInfo> Import(const LatencyTable& table,
                                              const std::string& extend = "") {
    return Import(ToProto(table), extend);
  }
  absl::StatusOr<v1::LatencyTable> Get(const std::string& digest) {
    v1::GetLatencyTableRequest request;
    request.set_digest(digest);
    return Call(&Stub::GetLatencyTable, request);
  }
  absl::Status Delete(const std::string& digest) {
    v1::DeleteLatencyTableRequest request;
    request.set_digest(digest);
    return Call(&Stub::DeleteLatencyTable, request).status();
  }
  std::vector<std::string> List() {
    std::vector<std::string> digests;
    v1::ListLatencyTablesRequest request;
    request.set_page_size(1);
    do {
      const auto page = Call(&Stub::ListLatencyTables, request);
      EXPECT_TRUE(page.ok()) << page.status();
      if (!page.ok()) return digests;
      for (const v1::LatencyTableInfo& info : page->tables()) digests.push_back(info.digest());
      request.set_page_token(page->next_page_token());
    } while (!request.page_token().empty());
    return digests;
  }
  // That the table is refused with `reason`, as the fault of the field "table".
  void Refused(const LatencyTable& table, const std::string& reason) {
    const absl::Status status = Import(table).status();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << status;
    const std::string checked(CheckLatencyTable(table).message());
    EXPECT_THAT(FieldViolations(status),
                ElementsAre(AllOf(::testing::Field(&FieldViolation::field, "table"),
                                  ::testing::Field(&FieldViolation::description,
                                                   AllOf(HasSubstr(reason), checked)))));
    EXPECT_TRUE(List().empty());
  }
};

TEST_F(LatencyServiceTest, GivesBackWhatItTook) {
  const LatencyTable table = SampleTable();
  const auto info = Import(table);
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->digest(), LatencyDigest(table));
  EXPECT_EQ(info->rows(), 8);
  EXPECT_EQ(info->layers(), 2);
  EXPECT_EQ(info->date(), "2026-11-20");
  EXPECT_GT(info->import_time_ms(), 0);
  EXPECT_EQ(FromProto(info->setting()), table.setting);
  ASSERT_EQ(info->fits_size(), 1);
  EXPECT_EQ(info->fits(0).networks(), 12);
  RestartServer();
  for (const std::string& digest : {info->digest(), info->digest().substr(0, 6)}) {
    const auto stored = Get(digest);
    ASSERT_TRUE(stored.ok()) << stored.status();
    EXPECT_EQ(FromProto(*stored), table);
  }
}

TEST_F(LatencyServiceTest, ItsVersionIsItsContents) {
  const auto first = Import(SampleTable());
  ASSERT_TRUE(first.ok()) << first.status();
  LatencyTable shuffled = SampleTable();
  std::reverse(shuffled.rows.begin(), shuffled.rows.end());
  const auto again = Import(shuffled);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->SerializeAsString(), first->SerializeAsString());
  EXPECT_THAT(List(), ElementsAre(first->digest()));
  LatencyTable other = SampleTable();
  other.rows[0].median_us += 1e-9;
  const auto changed = Import(other);
  ASSERT_TRUE(changed.ok()) << changed.status();
  EXPECT_NE(changed->digest(), first->digest());
  EXPECT_EQ(List().size(), 2U);
}

TEST_F(LatencyServiceTest, RefusesBadTablesAndSaysWhichRow) {
  for (const double bad : {-1.0, 0.0, kNan, std::numeric_limits<double>::infinity()}) {
    LatencyTable table = SampleTable();
    table.rows[6].median_us = bad;
    Refused(table, "row 7: linear r1: median_us");
  }
  LatencyTable table = SampleTable();
  table.rows[1].spread_us = -0.5;
  Refused(table, "row 2: conv 3x3 s1: spread_us");
  table = SampleTable();
  table.rows.push_back(table.rows[2]);
  Refused(table, "row 9");
  table = SampleTable();
  table.rows.erase(table.rows.begin() + 5);  // linear, 4 to 32
  Refused(table, "linear r1");
  table = SampleTable();
  table.setting.device.clear();
  Refused(table, "device is empty");
  table = SampleTable();
  table.setting.runtime.clear();
  Refused(table, "runtime is empty");
  table = SampleTable();
  table.setting.threads = 0;
  Refused(table, "threads is 0");
  Refused({}, "device is empty");
}

TEST_F(LatencyServiceTest, ExtendsUnderANewVersion) {
  const auto base = Import(SampleTable({"conv 3x3 s1"}));
  ASSERT_TRUE(base.ok()) << base.status();
  LatencyTable more = SampleTable({"linear r1"});
  more.date = "2026-11-21";
  const auto extended = Import(more, base->digest().substr(0, 12));
  ASSERT_TRUE(extended.ok()) << extended.status();
  EXPECT_NE(extended->digest(), base->digest());
  EXPECT_EQ(extended->layers(), 2);
  EXPECT_EQ(extended->rows(), 8);
  LatencyTable both = SampleTable();
  both.date = "2026-11-21";
  EXPECT_EQ(FromProto(*Get(extended->digest())), both);
  EXPECT_EQ(Get(base->digest())->rows_size(), 4);  // stays as it was
  // New points of a layer that need the old ones for a grid.
  LatencyTable points = SampleTable({});
  points.rows = {{"conv 3x3 s1", 4, 64, 30, 0}, {"conv 3x3 s1", 8, 64, 60, 0}};
  const auto wider = Import(points, base->digest());
  ASSERT_TRUE(wider.ok()) << wider.status();
  EXPECT_EQ(wider->rows(), 6);
  points.rows.pop_back();
  const absl::Status gap = Import(points, base->digest()).status();
  EXPECT_EQ(gap.code(), StatusCode::kInvalidArgument) << gap;
  EXPECT_THAT(std::string(gap.message()), AllOf(StartsWith("table: "), HasSubstr("conv 3x3 s1")));
}

TEST_F(LatencyServiceTest, ExtendsOnlyWhatIsThereAndOfTheSameSetting) {
  const auto base = Import(SampleTable());
  ASSERT_TRUE(base.ok()) << base.status();
  const absl::Status none = Import(SampleTable(), std::string(64, '0')).status();
  EXPECT_EQ(none.code(), StatusCode::kNotFound) << none;
  EXPECT_THAT(std::string(none.message()), StartsWith("extend: "));
  LatencyTable other = SampleTable();
  other.setting.device = "Pixel 8";
  other.setting.threads = 4;
  const absl::Status differs = Import(other, base->digest()).status();
  EXPECT_EQ(differs.code(), StatusCode::kFailedPrecondition) << differs;
  EXPECT_THAT(std::string(differs.message()),
              AllOf(HasSubstr("Pixel 8"), HasSubstr("threads is 2")));
  EXPECT_EQ(List().size(), 1U);
}

// 40,000 rows with names of 100 bytes are 5 MB: one table, but not two in one.
TEST_F(LatencyServiceTest, TakesNoMoreThanCouldBeImportedAgain) {
  const auto large = [](char name) {
    LatencyTable table = SampleTable({});
    for (int64_t in = 1; in <= 200; ++in) {
      for (int64_t out = 1; out <= 200; ++out) {
        table.rows.push_back({std::string(100, name), in, out, 0.5, 0});
      }
    }
    return table;
  };
  const auto first = Import(large('a'));
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(Get(first->digest())->rows_size(), 40'000);
  const absl::Status both = Import(large('b'), first->digest()).status();
  EXPECT_EQ(both.code(), StatusCode::kResourceExhausted) << both;
  EXPECT_THAT(std::string(both.message()), HasSubstr("80000 rows"));
}

TEST_F(LatencyServiceTest, DigestsMustSayWhich) {
  const std::string digest = Import(SampleTable())->digest();
  for (const std::string& unknown : {std::string(64, '0'), std::string("zzzzzz"), digest + "0"}) {
    EXPECT_EQ(Get(unknown).status().code(), StatusCode::kNotFound) << unknown;
    EXPECT_EQ(Delete(unknown).code(), StatusCode::kNotFound) << unknown;
  }
  for (const std::string& vague : {std::string(), digest.substr(0, 5)}) {
    EXPECT_THAT(FieldViolations(Get(vague).status()),
                ElementsAre(::testing::Field(&FieldViolation::field, "digest")));
    EXPECT_EQ(Delete(vague).code(), StatusCode::kInvalidArgument);
  }
  EXPECT_THAT(List(), ElementsAre(digest));
}

// On a store of its own, whose job no server runs.
TEST_F(LatencyServiceTest, KeepsATableThatAJobNeeds) {
  const auto store = *OpenSqliteStore(folder_.path() + "/alone.db");
  const FakeClock clock(absl::FromUnixSeconds(1'000'000));
  LatencyServiceImpl service(store.get(), &clock);
  v1::ImportLatencyTableRequest import;
  *import.mutable_table() = ToProto(SampleTable());
  v1::LatencyTableInfo info;
  ASSERT_TRUE(service.ImportLatencyTable(nullptr, &import, &info).ok());
  EXPECT_EQ(info.import_time_ms(), 1'000'000'000);
  v1::Job job;
  job.set_id("needy");
  job.set_state(v1::JOB_STATE_SEARCHING);
  job.mutable_spec()->mutable_latency()->set_table(info.digest());
  ASSERT_TRUE(store->CreateJob(job, "request", "hash", {}).ok());
  v1::DeleteLatencyTableRequest request;
  request.set_digest(info.digest().substr(0, 12));
  v1::DeleteLatencyTableResponse response;
  const grpc::Status needed = service.DeleteLatencyTable(nullptr, &request, &response);
  EXPECT_EQ(needed.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(needed.error_message(), AllOf(HasSubstr(info.digest()), HasSubstr("needy")));
  job.set_state(v1::JOB_STATE_CANCELLED);  // it may be resumed
  ASSERT_TRUE(store->UpdateJob({job, {}}).ok());
  EXPECT_EQ(service.DeleteLatencyTable(nullptr, &request, &response).error_code(),
            grpc::StatusCode::FAILED_PRECONDITION);
  ASSERT_TRUE(store->DeleteJob("needy").ok());
  EXPECT_TRUE(service.DeleteLatencyTable(nullptr, &request, &response).ok());
}

}  // namespace
}  // namespace amc
