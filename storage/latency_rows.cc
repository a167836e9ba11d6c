#include "storage/latency_rows.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/sha256.h"
#include "storage/job_rows.h"
#include "storage/message_blob.h"
#include "storage/page_token.h"

namespace amc::rows {
namespace {

using sqlite::Blob;
using sqlite::Database;
using sqlite::Statement;

constexpr int64_t kDefaultPage = 20, kMaxPage = 100;
constexpr size_t kLeastDigits = 6;
constexpr int64_t kMostNamed = 5;  // of the tables that a prefix fits
// Matches ReadInfo.
constexpr char kInfoColumns[] =
    "digest, runtime, version, device, threads, batch, date, layers, row_count, import_ms, fits";

absl::StatusOr<v1::LatencyTableInfo> ReadInfo(const Statement& row) {
  AMC_ASSIGN_OR_RETURN(
      v1::LatencyTableInfo info,
      FromBlob<v1::LatencyTableInfo>(row.Bytes(10), "latency table " + row.Text(0)));
  info.set_digest(row.Text(0));
  v1::LatencySetting& setting = *info.mutable_setting();
  setting.set_runtime(row.Text(1));
  setting.set_version(row.Text(2));
  setting.set_device(row.Text(3));
  setting.set_threads(row.Int(4));
  setting.set_batch(row.Int(5));
  info.set_date(row.Text(6));
  info.set_layers(row.Int(7));
  info.set_rows(row.Int(8));
  info.set_import_time_ms(row.Int(9));
  return info;
}

absl::Status NoTable(const std::string& digest) {
  return absl::NotFoundError(absl::StrCat("there is no latency table \"", digest, "\""));
}

}  // namespace

absl::StatusOr<v1::LatencyTableInfo> PutLatencyTable(Database& db, const v1::LatencyTableInfo& info,
                                                     const v1::LatencyTable& table) {
  if (!IsSha256Hex(info.digest())) {
    return absl::InvalidArgumentError(
        absl::StrCat("a latency table needs a sha256, not \"", info.digest(), "\""));
  }
  v1::LatencyTableInfo fits;
  *fits.mutable_fits() = info.fits();
  const v1::LatencySetting& setting = info.setting();
  AMC_RETURN_IF_ERROR(db.Run(absl::StrCat("INSERT INTO latency_tables (", kInfoColumns,
                                          ", body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
                                          "ON CONFLICT (digest) DO NOTHING"),
                             info.digest(), setting.runtime(), setting.version(), setting.device(),
                             setting.threads(), setting.batch(), info.date(), info.layers(),
                             info.rows(), info.import_time_ms(), Blob{ToBlob(fits)},
                             Blob{ToBlob(table)})
                          .status());
  return FindLatencyTable(db, info.digest());
}

absl::StatusOr<v1::LatencyTable> GetLatencyTable(Database& db, const std::string& digest) {
  AMC_ASSIGN_OR_RETURN(Statement row,
                       db.Query("SELECT body FROM latency_tables WHERE digest = ?", digest));
  AMC_ASSIGN_OR_RETURN(const bool found, row.Step());
  if (!found) return NoTable(digest);
  return FromBlob<v1::LatencyTable>(row.Bytes(0), "latency table " + digest);
}

absl::StatusOr<v1::ListLatencyTablesResponse> ListLatencyTables(
    Database& db, const v1::ListLatencyTablesRequest& request) {
  AMC_ASSIGN_OR_RETURN(const int64_t size, PageSize(request.page_size(), kDefaultPage, kMaxPage));
  const uint64_t fingerprint = QueryFingerprint(request);
  PageKey last;
  last.number = INT64_MAX;
  if (!request.page_token().empty()) {
    AMC_ASSIGN_OR_RETURN(last, DecodePageToken(request.page_token(), fingerprint));
  }
  AMC_ASSIGN_OR_RETURN(
      Statement rows,
      db.Query(absl::StrCat("SELECT ", kInfoColumns,
                            " FROM latency_tables WHERE (import_ms, digest) < (?, ?) "
                            "ORDER BY import_ms DESC, digest DESC LIMIT ?"),
               last.number, last.text, size + 1));
  v1::ListLatencyTablesResponse response;
  for (;;) {
    AMC_ASSIGN_OR_RETURN(const bool found, rows.Step());
    if (!found) return response;
    if (response.tables_size() == size) {
      response.set_next_page_token(EncodePageToken(fingerprint, last));
      return response;
    }
    AMC_ASSIGN_OR_RETURN(v1::LatencyTableInfo info, ReadInfo(rows));
    last.number = info.import_time_ms();
    last.text = info.digest();
    *response.add_tables() = std::move(info);
  }
}

absl::StatusOr<v1::LatencyTableInfo> FindLatencyTable(Database& db, const std::string& prefix) {
  if (prefix.size() < kLeastDigits) {
    return absl::InvalidArgumentError(absl::StrCat("\"", prefix, "\": at least ", kLeastDigits,
                                                   " digits of a latency table are needed"));
  }
  AMC_ASSIGN_OR_RETURN(
      Statement rows, db.Query(absl::StrCat("SELECT ", kInfoColumns,
                                            " FROM latency_tables WHERE digest >= ? AND digest < ? "
                                            "ORDER BY digest LIMIT ?"),
                               prefix, prefix + "g",  // the character after the last digit
                               kMostNamed + 1));
  std::vector<std::string> digests;
  v1::LatencyTableInfo info;
  for (;;) {
    AMC_ASSIGN_OR_RETURN(const bool found, rows.Step());
    if (!found) break;
    AMC_ASSIGN_OR_RETURN(info, ReadInfo(rows));
    digests.push_back(info.digest());
  }
  if (digests.empty()) return NoTable(prefix);
  if (digests.size() == 1) return info;
  if (digests.size() > kMostNamed) digests.back() = "others";
  return absl::InvalidArgumentError(
      absl::StrCat("latency table \"", prefix, "\" may be any of ", absl::StrJoin(digests, ", ")));
}

absl::Status DeleteLatencyTable(Database& db, const std::string& digest) {
  AMC_RETURN_IF_ERROR(NeedLatencyTable(db, digest));
  AMC_ASSIGN_OR_RETURN(const std::vector<v1::Job> jobs, JobsOfLatencyTable(db, digest));
  if (!jobs.empty()) {
    const std::string others =
        jobs.size() == 1 ? "" : absl::StrCat(", and by ", jobs.size() - 1, " more");
    return absl::FailedPreconditionError(absl::StrCat(
        "latency table ", digest, " is needed by job \"", jobs[0].id(), "\", which is ",
        v1::JobState_Name(jobs[0].state()), others, ": delete the job first, ended or not"));
  }
  return db.Run("DELETE FROM latency_tables WHERE digest = ?", digest).status();
}

absl::Status NeedLatencyTable(Database& db, const std::string& digest) {
  AMC_ASSIGN_OR_RETURN(Statement row,
                       db.Query("SELECT 1 FROM latency_tables WHERE digest = ?", digest));
  AMC_ASSIGN_OR_RETURN(const bool found, row.Step());
  return found ? absl::OkStatus() : NoTable(digest);
}

}  // namespace amc::rows
