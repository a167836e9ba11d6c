#include "storage/registry_rows.h"

#include "absl/strings/str_cat.h"
#include "storage/message_blob.h"
#include "storage/page_token.h"

namespace amc::rows {
namespace {

using sqlite::Blob;
using sqlite::Database;
using sqlite::Statement;

constexpr int64_t kDefaultPage = 20, kMaxPage = 100;

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
  AMC_ASSIGN_OR_RETURN(const int64_t size, PageSize(request.page_size(), kDefaultPage, kMaxPage));
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

absl::Status PutArtifact(Database& db, const v1::Artifact& artifact) {
  return db
      .Run(
          "INSERT INTO artifacts (digest, size, kind, name, create_time_ms) "
          "VALUES (?, ?, ?, ?, ?) ON CONFLICT (digest) DO NOTHING",
          artifact.digest(), artifact.size(), static_cast<int>(artifact.kind()), artifact.name(),
          artifact.create_time_ms())
      .status();
}

absl::StatusOr<v1::Artifact> GetArtifact(Database& db, const std::string& digest) {
  AMC_ASSIGN_OR_RETURN(
      Statement row,
      db.Query("SELECT size, kind, name, create_time_ms FROM artifacts WHERE digest = ?", digest));
  AMC_ASSIGN_OR_RETURN(const bool found, row.Step());
  if (!found) return absl::NotFoundError(absl::StrCat("there is no artifact \"", digest, "\""));
  v1::Artifact artifact;
  artifact.set_digest(digest);
  artifact.set_size(row.Int(0));
  artifact.set_kind(static_cast<v1::ArtifactKind>(row.Int(1)));
  artifact.set_name(row.Text(2));
  artifact.set_create_time_ms(row.Int(3));
  return artifact;
}

}  // namespace amc::rows
