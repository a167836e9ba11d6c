#include "storage/episode_rows.h"

#include <cmath>
#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "storage/job_rows.h"
#include "storage/message_blob.h"
#include "storage/page_token.h"

namespace amc::rows {
namespace {

using sqlite::Blob;
using sqlite::Database;
using sqlite::Number;
using sqlite::Statement;

constexpr int64_t kDefaultPage = 20, kMaxPage = 1000;

// How an order is written in SQL. `column` is its sort key; ties go by number.
struct Order {
  absl::string_view index, column;
  bool descending = false;
  bool by_number() const { return column == "number"; }
};

absl::StatusOr<Order> OrderOf(v1::EpisodeOrder order) {
  switch (order) {
    case v1::EPISODE_ORDER_UNSPECIFIED:
    case v1::EPISODE_ORDER_NUMBER:
      return Order{"episodes_by_number", "number"};
    case v1::EPISODE_ORDER_REWARD_DESC:
      return Order{"episodes_by_reward", "reward", true};
    case v1::EPISODE_ORDER_MACS:
      return Order{"episodes_by_macs", "macs"};
    case v1::EPISODE_ORDER_TOP1_DESC:
      return Order{"episodes_by_top1", "top1", true};
    default:
      return absl::InvalidArgumentError(
          absl::StrCat("order: ", static_cast<int>(order), " is none of EpisodeOrder"));
  }
}

// "macs <=" and the value that follows.
struct Condition {
  std::string comparison;
  Number value;
};
using Conditions = std::vector<Condition>;

absl::StatusOr<Conditions> FilterConditions(const v1::EpisodeFilter& filter) {
  if (std::isnan(filter.min_reward()) || std::isnan(filter.min_top1())) {
    return absl::InvalidArgumentError("filter: min_reward and min_top1 must be numbers");
  }
  Conditions conditions;
  if (filter.has_min_reward()) conditions.push_back({"reward >=", filter.min_reward()});
  if (filter.has_min_top1()) conditions.push_back({"top1 >=", filter.min_top1()});
  if (filter.has_max_macs()) conditions.push_back({"macs <=", filter.max_macs()});
  if (filter.has_max_params()) conditions.push_back({"params <=", filter.max_params()});
  if (filter.has_min_number()) conditions.push_back({"number >=", filter.min_number()});
  if (filter.has_max_number()) conditions.push_back({"number <=", filter.max_number()});
  return conditions;
}

// The last row given out: its sort key and number.
struct Position {
  Number key;
  int64_t number;
};

// The index ranges that hold what comes after `last`: the rest of its ties, then the later keys,
// each in the order's order. (As one condition with OR, sqlite3 would walk over all ties on every
// page.)
std::vector<Conditions> RangesAfter(const Order& order, const std::optional<Position>& last) {
  if (!last.has_value()) return {{}};
  const Condition later{"number >", last->number};
  if (order.by_number()) return {{later}};
  return {{{absl::StrCat(order.column, " ="), last->key}, later},
          {{absl::StrCat(order.column, order.descending ? " <" : " >"), last->key}}};
}

// Rows of number, sort key, body, steps.
absl::StatusOr<Statement> QueryRange(Database& db, int64_t job_key, const Order& order,
                                     bool with_steps, const Conditions& range,
                                     const Conditions& filter, int64_t limit) {
  // Filters see the index alone: the table's row is fetched for what is given out.
  std::string sql =
      absl::StrCat("SELECT number, ", order.column, ", body, ", with_steps ? "steps" : "x''",
                   " FROM episodes INDEXED BY ", order.index, " WHERE job = ?");
  std::vector<Number> values = {job_key};
  for (const Conditions* conditions : {&range, &filter}) {
    for (const Condition& condition : *conditions) {
      absl::StrAppend(&sql, " AND ", condition.comparison, " ?");
      values.push_back(condition.value);
    }
  }
  absl::StrAppend(&sql, " ORDER BY ", order.column, order.descending ? " DESC" : "",
                  order.by_number() ? "" : ", number", " LIMIT ?");
  values.push_back(limit);
  return db.QueryNumbers(sql, values);
}

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
                                    const std::string& if_none) {
  AMC_ASSIGN_OR_RETURN(const bool found, row.Step());
  if (!found) return absl::NotFoundError(if_none);
  return ParseEpisode(job, row.Int(0), row.Bytes(1), row.Bytes(2));
}

}  // namespace

absl::Status InsertEpisode(Database& db, int64_t job_key, const std::string& job,
                           const v1::Episode& episode) {
  const std::string label = absl::StrCat("episode ", episode.number(), " of job \"", job, "\"");
  if (episode.job() != job) {
    return absl::InvalidArgumentError(
        absl::StrCat(label, " says that it belongs to \"", episode.job(), "\""));
  }
  const double reward = episode.reward(), top1 = episode.measurement().top1();
  if (episode.number() < 0 || std::isnan(reward) || std::isnan(top1)) {
    return absl::InvalidArgumentError(absl::StrCat(label, ": reward ", reward, ", top-1 ", top1,
                                                   ": no history can be made of these"));
  }
  v1::Episode body = episode, steps;
  body.clear_job();
  body.clear_number();
  steps.mutable_steps()->Swap(body.mutable_steps());
  absl::Status status =
      db.Run(
            "INSERT INTO episodes (job, number, reward, top1, macs, params, body, steps) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            job_key, episode.number(), reward, top1, episode.cost().macs(), episode.cost().params(),
            Blob{ToBlob(body)}, Blob{ToBlob(steps)})
          .status();
  if (absl::IsAlreadyExists(status)) {
    return absl::AlreadyExistsError(absl::StrCat(label, " was committed already"));
  }
  return status;
}

absl::StatusOr<v1::ListEpisodesResponse> ListEpisodes(Database& db,
                                                      const v1::ListEpisodesRequest& request) {
  AMC_ASSIGN_OR_RETURN(const int64_t size, PageSize(request.page_size(), kDefaultPage, kMaxPage));
  AMC_ASSIGN_OR_RETURN(const Order order, OrderOf(request.order()));
  AMC_ASSIGN_OR_RETURN(const Conditions filter, FilterConditions(request.filter()));
  AMC_ASSIGN_OR_RETURN(const int64_t job_key, JobKey(db, request.job()));
  const bool real_key = order.column == "reward" || order.column == "top1";
  const uint64_t fingerprint = QueryFingerprint(request);
  std::optional<Position> last;
  if (!request.page_token().empty()) {
    AMC_ASSIGN_OR_RETURN(const PageKey key, DecodePageToken(request.page_token(), fingerprint));
    last = Position{real_key ? Number(key.real) : Number(key.integer), key.number};
  }
  v1::ListEpisodesResponse response;
  PageKey key;
  for (const Conditions& range : RangesAfter(order, last)) {
    // One row more than the page holds tells whether there is another page.
    const int64_t limit = size + 1 - response.episodes_size();
    AMC_ASSIGN_OR_RETURN(
        Statement rows, QueryRange(db, job_key, order, request.with_steps(), range, filter, limit));
    for (;;) {
      AMC_ASSIGN_OR_RETURN(const bool found, rows.Step());
      if (!found) break;
      if (response.episodes_size() == size) {
        response.set_next_page_token(EncodePageToken(fingerprint, key));
        return response;
      }
      AMC_ASSIGN_OR_RETURN(*response.add_episodes(),
                           ParseEpisode(request.job(), rows.Int(0), rows.Bytes(2), rows.Bytes(3)));
      key.number = rows.Int(0);
      if (real_key) {
        key.real = rows.Real(1);
      } else {
        key.integer = rows.Int(1);
      }
    }
  }
  return response;
}

absl::StatusOr<v1::Episode> GetEpisode(Database& db, const std::string& job, int64_t number) {
  AMC_ASSIGN_OR_RETURN(const int64_t key, JobKey(db, job));
  AMC_ASSIGN_OR_RETURN(
      Statement row,
      db.Query("SELECT number, body, steps FROM episodes WHERE job = ? AND number = ?", key,
               number));
  return ReadOne(std::move(row), job,
                 absl::StrCat("job \"", job, "\" has committed no episode ", number));
}

absl::StatusOr<v1::Episode> BestEpisode(Database& db, const std::string& job) {
  AMC_ASSIGN_OR_RETURN(const int64_t key, JobKey(db, job));
  AMC_ASSIGN_OR_RETURN(Statement row, db.Query("SELECT number, body, steps FROM episodes "
                                               "INDEXED BY episodes_by_reward WHERE job = ? "
                                               "ORDER BY reward DESC, number LIMIT 1",
                                               key));
  return ReadOne(std::move(row), job,
                 absl::StrCat("job \"", job, "\" has committed no episode yet"));
}

}  // namespace amc::rows
