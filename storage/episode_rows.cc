#include "storage/episode_rows.h"

#include <cmath>
#include <limits>
#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "storage/episode_query.h"
#include "storage/episode_zones.h"
#include "storage/job_rows.h"
#include "storage/message_blob.h"
#include "storage/page_token.h"

namespace amc::rows {
namespace {

using sqlite::Blob;
using sqlite::Database;
using sqlite::Statement;

constexpr int64_t kDefaultPage = 20, kMaxPage = 1000;

absl::StatusOr<v1::Episode> ParseEpisode(const std::string& job, int64_t number,
                                         absl::string_view body, absl::string_view steps) {
  // Concatenated messages are the merged message.
  AMC_ASSIGN_OR_RETURN(v1::Episode episode,
                       FromBlob<v1::Episode>(absl::StrCat(body, steps),
                                             absl::StrCat("episode ", number, " of ", job)));
  episode.set_job(job);
  episode.set_number(number);
  return episode;
}

// The one episode that `sql`, with columns number, body and steps, finds.
absl::StatusOr<v1::Episode> ReadOne(Statement row, const std::string& job,
                                    const absl::Status& if_none) {
  AMC_ASSIGN_OR_RETURN(const bool found, row.Step());
  if (!found) return if_none;
  return ParseEpisode(job, row.Int(0), row.Bytes(1), row.Bytes(2));
}

// Histories of before there were kinds had candidates alone.
v1::EpisodeKind KindOf(const v1::Episode& episode) {
  return episode.kind() == v1::EPISODE_KIND_UNSPECIFIED ? v1::EPISODE_KIND_CANDIDATE
                                                        : episode.kind();
}

}  // namespace

absl::Status InsertEpisode(Database& db, int64_t job_key, const std::string& job,
                           const v1::Episode& episode) {
  const std::string label = absl::StrCat("episode ", episode.number(), " of job \"", job, "\"");
  if (episode.job() != job) {
    return absl::InvalidArgumentError(
        absl::StrCat(label, " says that it belongs to \"", episode.job(), "\""));
  }
  double reward = episode.reward(), top1 = episode.measurement().top1();
  if (episode.number() < 0 || !std::isfinite(reward) || !std::isfinite(top1)) {
    return absl::InvalidArgumentError(absl::StrCat(label, ": reward ", reward, ", top-1 ", top1,
                                                   ": no history can be made of these"));
  }
  if (episode.state() == v1::EPISODE_STATE_INFEASIBLE) {
    // One without a measurement stands behind all others in every order by quality.
    reward = top1 = -std::numeric_limits<double>::infinity();
  }
  v1::Episode body = episode, steps;
  body.clear_job();
  body.clear_number();
  steps.mutable_steps()->Swap(body.mutable_steps());
  absl::Status status =
      db.Run(
            "INSERT INTO episodes (job, number, reward, top1, macs, params, body, steps, kind) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            job_key, episode.number(), reward, top1, episode.cost().macs(), episode.cost().params(),
            Blob{ToBlob(body)}, Blob{ToBlob(steps)}, static_cast<int>(KindOf(episode)))
          .status();
  if (absl::IsAlreadyExists(status)) {
    return absl::AlreadyExistsError(absl::StrCat(label, " was committed already"));
  }
  AMC_RETURN_IF_ERROR(status);
  return AddToZones(db, job_key,
                    {.number = episode.number(),
                     .reward = reward,
                     .top1 = top1,
                     .macs = episode.cost().macs(),
                     .params = episode.cost().params()});
}

absl::StatusOr<v1::ListEpisodesResponse> ListEpisodes(Database& db,
                                                      const v1::ListEpisodesRequest& request) {
  AMC_ASSIGN_OR_RETURN(const int64_t size, PageSize(request.page_size(), kDefaultPage, kMaxPage));
  AMC_ASSIGN_OR_RETURN(const int64_t job_key, JobKey(db, request.job()));
  const uint64_t fingerprint = QueryFingerprint(request);
  std::optional<EpisodePosition> after;
  if (!request.page_token().empty()) {
    AMC_ASSIGN_OR_RETURN(const PageKey last, DecodePageToken(request.page_token(), fingerprint));
    after = EpisodePosition{last.key, last.number};
  }
  // One more than the page holds tells whether there is another page.
  AMC_ASSIGN_OR_RETURN(
      std::vector<EpisodePosition> page,
      FindEpisodes(db, job_key, request.order(), request.filter(), after, size + 1));
  v1::ListEpisodesResponse response;
  if (static_cast<int64_t>(page.size()) > size) {
    page.pop_back();
    response.set_next_page_token(
        EncodePageToken(fingerprint, {page.back().key, page.back().number, ""}));
  }
  const std::string fetch =
      absl::StrCat("SELECT number, body, ", request.with_steps() ? "steps" : "x''",
                   " FROM episodes WHERE rowid = ?");
  const absl::Status lost = absl::DataLossError(
      absl::StrCat("job \"", request.job(), "\": an index names a lost episode"));
  for (const EpisodePosition& position : page) {
    AMC_ASSIGN_OR_RETURN(Statement row, db.Query(fetch, position.rowid));
    AMC_ASSIGN_OR_RETURN(*response.add_episodes(), ReadOne(std::move(row), request.job(), lost));
  }
  return response;
}

absl::StatusOr<v1::Episode> GetEpisode(Database& db, const std::string& job, int64_t number) {
  AMC_ASSIGN_OR_RETURN(const int64_t key, JobKey(db, job));
  AMC_ASSIGN_OR_RETURN(
      Statement row,
      db.Query("SELECT number, body, steps FROM episodes WHERE job = ? AND number = ?", key,
               number));
  return ReadOne(
      std::move(row), job,
      absl::NotFoundError(absl::StrCat("job \"", job, "\" has committed no episode ", number)));
}

absl::StatusOr<v1::Episode> BestEpisode(Database& db, const std::string& job) {
  AMC_ASSIGN_OR_RETURN(const int64_t key, JobKey(db, job));
  AMC_ASSIGN_OR_RETURN(Statement row, db.Query("SELECT number, body, steps FROM episodes "
                                               "INDEXED BY episodes_by_reward "
                                               "WHERE job = ? AND reward > -9e999 AND kind = ? "
                                               "ORDER BY reward DESC, number LIMIT 1",
                                               key, static_cast<int>(v1::EPISODE_KIND_CANDIDATE)));
  return ReadOne(std::move(row), job,
                 absl::NotFoundError(absl::StrCat(
                     "job \"", job, "\" has committed no candidate with a measurement")));
}

}  // namespace amc::rows
