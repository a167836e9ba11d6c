#include "storage/registry_rows.h"

#include "absl/strings/str_cat.h"
#include "storage/job_rows.h"
#include "storage/message_blob.h"
#include "storage/page_token.h"

namespace amc::rows {
namespace {

using sqlite::Blob;
using sqlite::Database;
using sqlite::Statement;

constexpr int64_t kDefaultWorkers = 20, kDefaultArtifacts = 100, kMaxPage = 1000;

// Matches ReadArtifact.
constexpr char kArtifactColumns[] = "digest, size, kind, name, create_time_ms";

v1::Artifact ReadArtifact(const Statement& row) {
  v1::Artifact artifact;
  artifact.set_digest(row.Text(0));
  artifact.set_size(row.Int(1));
  artifact.set_kind(static_cast<v1::ArtifactKind>(row.Int(2)));
  artifact.set_name(row.Text(3));
  artifact.set_create_time_ms(row.Int(4));
  return artifact;
}

absl::Status NoArtifact(const std::string& digest) {
  return absl::NotFoundError(absl::StrCat("there is no artifact \"", digest, "\""));
}

}  // namespace

absl::Status PutWorker(Database& db, const v1::Worker& worker) {
  if (worker.uuid().empty()) return absl::InvalidArgumentError("a worker needs a uuid");
  v1::Worker body = worker;
  body.clear_uuid();
  return db
      .Run(
          "INSERT INTO workers (uuid, body) VALUES (?, ?) "
          "ON CONFLICT (uuid) DO UPDATE SET body = excluded.body",
          worker.uuid(), Blob{ToBlob(body)})
      .status();
}

absl::StatusOr<v1::ListWorkersResponse> ListWorkers(Database& db,
                                                    const v1::ListWorkersRequest& request) {
  AMC_ASSIGN_OR_RETURN(const int64_t size,
                       PageSize(request.page_size(), kDefaultWorkers, kMaxPage));
  const uint64_t fingerprint = QueryFingerprint(request);
  PageKey last;
  if (!request.page_token().empty()) {
    AMC_ASSIGN_OR_RETURN(last, DecodePageToken(request.page_token(), fingerprint));
  }
  AMC_ASSIGN_OR_RETURN(
      Statement rows,
      db.Query("SELECT uuid, body FROM workers WHERE uuid > ? ORDER BY uuid LIMIT ?", last.text,
               size + 1));
  v1::ListWorkersResponse response;
  for (;;) {
    AMC_ASSIGN_OR_RETURN(const bool found, rows.Step());
    if (!found) return response;
    if (response.workers_size() == size) {
      response.set_next_page_token(EncodePageToken(fingerprint, last));
      return response;
    }
    last.text = rows.Text(0);
    AMC_ASSIGN_OR_RETURN(v1::Worker worker,
                         FromBlob<v1::Worker>(rows.Bytes(1), "worker " + last.text));
    worker.set_uuid(last.text);
    *response.add_workers() = std::move(worker);
  }
}

absl::Status DropWorkers(Database& db, int64_t before_ms, const std::set<std::string>& keep) {
  std::vector<std::string> old;
  {
    AMC_ASSIGN_OR_RETURN(Statement rows, db.Query("SELECT uuid, body FROM workers"));
    for (;;) {
      AMC_ASSIGN_OR_RETURN(const bool found, rows.Step());
      if (!found) break;
      AMC_ASSIGN_OR_RETURN(const v1::Worker worker,
                           FromBlob<v1::Worker>(rows.Bytes(1), "worker " + rows.Text(0)));
      if (worker.last_seen_ms() < before_ms && keep.count(rows.Text(0)) == 0)
        old.push_back(rows.Text(0));
    }
  }
  for (const std::string& uuid : old) {
    AMC_RETURN_IF_ERROR(db.Run("DELETE FROM workers WHERE uuid = ?", uuid).status());
  }
  return absl::OkStatus();
}

absl::Status PutArtifact(Database& db, const v1::Artifact& artifact) {
  return db
      .Run(
          "INSERT INTO artifacts (digest, size, kind, name, create_time_ms, use_time_ms) "
          "VALUES (?, ?, ?, ?, ?, ?) "
          "ON CONFLICT (digest) DO UPDATE SET use_time_ms = max(use_time_ms, excluded.use_time_ms)",
          artifact.digest(), artifact.size(), static_cast<int>(artifact.kind()), artifact.name(),
          artifact.create_time_ms(), artifact.create_time_ms())
      .status();
}

absl::StatusOr<v1::Artifact> GetArtifact(Database& db, const std::string& digest) {
  AMC_ASSIGN_OR_RETURN(Statement row, db.Query(absl::StrCat("SELECT ", kArtifactColumns,
                                                            " FROM artifacts WHERE digest = ?"),
                                               digest));
  AMC_ASSIGN_OR_RETURN(const bool found, row.Step());
  if (!found) return NoArtifact(digest);
  return ReadArtifact(row);
}

absl::StatusOr<v1::ListArtifactsResponse> ListArtifacts(Database& db,
                                                        const v1::ListArtifactsRequest& request) {
  AMC_ASSIGN_OR_RETURN(const int64_t size,
                       PageSize(request.page_size(), kDefaultArtifacts, kMaxPage));
  const uint64_t fingerprint = QueryFingerprint(request);
  PageKey last;
  if (!request.page_token().empty()) {
    AMC_ASSIGN_OR_RETURN(last, DecodePageToken(request.page_token(), fingerprint));
  }
  AMC_ASSIGN_OR_RETURN(Statement rows, db.Query(absl::StrCat("SELECT ", kArtifactColumns,
                                                             " FROM artifacts WHERE digest > ? "
                                                             "ORDER BY digest LIMIT ?"),
                                                last.text, size + 1));
  v1::ListArtifactsResponse response;
  for (;;) {
    AMC_ASSIGN_OR_RETURN(const bool found, rows.Step());
    if (!found) return response;
    if (response.artifacts_size() == size) {
      response.set_next_page_token(EncodePageToken(fingerprint, last));
      return response;
    }
    *response.add_artifacts() = ReadArtifact(rows);
    last.text = rows.Text(0);
  }
}

absl::Status UseArtifact(Database& db, const std::string& digest, int64_t now_ms) {
  AMC_ASSIGN_OR_RETURN(
      const int64_t changed,
      db.Run("UPDATE artifacts SET use_time_ms = max(use_time_ms, ?) WHERE digest = ?", now_ms,
             digest));
  return changed > 0 ? absl::OkStatus() : NoArtifact(digest);
}

absl::StatusOr<int64_t> ArtifactBytes(Database& db) {
  return db.QueryInt("SELECT coalesce(sum(size), 0) FROM artifacts");
}

absl::StatusOr<std::vector<std::string>> CollectArtifacts(Database& db, int64_t before_ms) {
  std::vector<std::string> unused;
  {
    AMC_ASSIGN_OR_RETURN(Statement rows,
                         db.Query("SELECT digest FROM artifacts WHERE use_time_ms < ?", before_ms));
    for (;;) {
      AMC_ASSIGN_OR_RETURN(const bool found, rows.Step());
      if (!found) break;
      unused.push_back(rows.Text(0));
    }
  }
  if (unused.empty()) return unused;
  AMC_ASSIGN_OR_RETURN(const std::set<std::string> used, ArtifactsOfJobs(db));
  std::erase_if(unused, [&used](const std::string& digest) { return used.count(digest) != 0; });
  for (const std::string& digest : unused) {
    AMC_RETURN_IF_ERROR(db.Run("DELETE FROM artifacts WHERE digest = ?", digest).status());
    AMC_RETURN_IF_ERROR(db.Run("DELETE FROM measurements WHERE reuse_key > ? AND reuse_key < ?",
                               digest + ":",
                               digest + ";")  // the character after the colon
                            .status());
  }
  return unused;
}

}  // namespace amc::rows
