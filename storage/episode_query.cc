#include "storage/episode_query.h"

#include <cmath>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace amc::rows {
namespace {

using sqlite::Database;
using sqlite::Number;
using sqlite::Statement;

// Of a filter with fewer matches than this, all are looked at and sorted, some ten milliseconds.
constexpr int64_t kSelective = 100'000;

struct Index {
  absl::string_view name, column;
};
constexpr Index kByNumber{"episodes_by_number", "number"};
constexpr Index kByReward{"episodes_by_reward", "reward"};
constexpr Index kByMacs{"episodes_by_macs", "macs"};
constexpr Index kByTop1{"episodes_by_top1", "top1"};

// An order as SQL: by the index's column, ties by number.
struct Order {
  Index index;
  bool descending = false;
  absl::string_view column() const { return index.column; }
  bool by_number() const { return index.column == kByNumber.column; }
};

absl::StatusOr<Order> OrderOf(v1::EpisodeOrder order) {
  switch (order) {
    case v1::EPISODE_ORDER_UNSPECIFIED:
    case v1::EPISODE_ORDER_NUMBER:
      return Order{kByNumber};
    case v1::EPISODE_ORDER_REWARD_DESC:
      return Order{kByReward, true};
    case v1::EPISODE_ORDER_MACS:
      return Order{kByMacs};
    case v1::EPISODE_ORDER_TOP1_DESC:
      return Order{kByTop1, true};
    default:
      return absl::InvalidArgumentError(
          absl::StrCat("order: ", static_cast<int>(order), " is none of EpisodeOrder"));
  }
}

// "macs" "<=" and the value that follows.
struct Condition {
  absl::string_view column, comparison;
  Number value;
};
using Conditions = std::vector<Condition>;

absl::StatusOr<Conditions> ConditionsOf(const v1::EpisodeFilter& filter) {
  if (std::isnan(filter.min_reward()) || std::isnan(filter.min_top1())) {
    return absl::InvalidArgumentError("filter: min_reward and min_top1 must be numbers");
  }
  Conditions conditions;
  if (filter.has_min_reward()) conditions.push_back({"reward", ">=", filter.min_reward()});
  if (filter.has_min_top1()) conditions.push_back({"top1", ">=", filter.min_top1()});
  if (filter.has_max_macs()) conditions.push_back({"macs", "<=", filter.max_macs()});
  if (filter.has_max_params()) conditions.push_back({"params", "<=", filter.max_params()});
  if (filter.has_min_number()) conditions.push_back({"number", ">=", filter.min_number()});
  if (filter.has_max_number()) conditions.push_back({"number", "<=", filter.max_number()});
  return conditions;
}

// The ranges that hold what comes after `after`: the rest of its ties, then the later keys. (As one
// condition with OR, sqlite3 would walk over all ties on every page.)
std::vector<Conditions> RangesAfter(const Order& order,
                                    const std::optional<EpisodePosition>& after) {
  if (!after.has_value()) return {{}};
  const Condition later{"number", ">", after->number};
  if (order.by_number()) return {{later}};
  return {{{order.column(), "=", after->key}, later},
          {{order.column(), order.descending ? "<" : ">", after->key}}};
}

// "FROM ... WHERE ..." over one index, and the values of its parameters.
struct Source {
  std::string sql;
  std::vector<Number> values;

  Source(const Index& index, int64_t job_key)
      : sql(absl::StrCat(" FROM episodes INDEXED BY ", index.name, " WHERE job = ?")),
        values{job_key} {}
  void Add(const Condition& condition) {
    absl::StrAppend(&sql, " AND ", condition.column, " ", condition.comparison, " ?");
    values.push_back(condition.value);
  }
};

// Appends what `source` finds to `found`, in order, up to `limit` in all.
absl::Status Collect(Database& db, const Order& order, Source source, int64_t limit,
                     std::vector<EpisodePosition>& found) {
  source.values.push_back(limit - static_cast<int64_t>(found.size()));
  AMC_ASSIGN_OR_RETURN(
      Statement row,
      db.QueryNumbers(absl::StrCat("SELECT rowid, number, ", order.column(), source.sql,
                                   " ORDER BY ", order.column(), order.descending ? " DESC" : "",
                                   order.by_number() ? "" : ", number", " LIMIT ?"),
                      source.values));
  for (;;) {
    AMC_ASSIGN_OR_RETURN(const bool more, row.Step());
    if (!more) return absl::OkStatus();
    found.push_back({row.Value(2), row.Int(1), row.Int(0)});
  }
}

absl::StatusOr<std::vector<EpisodePosition>> FindByIndex(
    Database& db, int64_t job_key, const Index& index, const Order& order,
    const Conditions& conditions, const std::optional<EpisodePosition>& after, int64_t limit) {
  std::vector<EpisodePosition> found;
  for (const Conditions& range : RangesAfter(order, after)) {
    if (static_cast<int64_t>(found.size()) == limit) break;
    Source source(index, job_key);
    for (const Condition& condition : range) source.Add(condition);
    for (const Condition& condition : conditions) source.Add(condition);
    AMC_RETURN_IF_ERROR(Collect(db, order, std::move(source), limit, found));
  }
  return found;
}

// The index in which the fewest entries pass the filters on its own column; the order's where none
// is selective.
absl::StatusOr<Index> MostSelective(Database& db, int64_t job_key, const Order& order,
                                    const Conditions& conditions) {
  Index best = order.index;
  int64_t fewest = kSelective;
  for (const Index& index : {kByNumber, kByReward, kByMacs, kByTop1}) {
    Source source(index, job_key);
    for (const Condition& condition : conditions) {
      if (condition.column == index.column) source.Add(condition);
    }
    if (source.values.size() == 1) continue;  // the job alone
    source.values.push_back(fewest);
    AMC_ASSIGN_OR_RETURN(
        Statement row,
        db.QueryNumbers(absl::StrCat("SELECT count(*) FROM (SELECT 1", source.sql, " LIMIT ?)"),
                        source.values));
    AMC_RETURN_IF_ERROR(row.Step().status());
    if (row.Int(0) < fewest) {
      fewest = row.Int(0);
      best = index;
    }
  }
  return best;
}

}  // namespace

absl::StatusOr<std::vector<EpisodePosition>> FindEpisodes(
    Database& db, int64_t job_key, v1::EpisodeOrder requested, const v1::EpisodeFilter& filter,
    const std::optional<EpisodePosition>& after, int64_t limit, int64_t quick_work) {
  AMC_ASSIGN_OR_RETURN(const Order order, OrderOf(requested));
  AMC_ASSIGN_OR_RETURN(const Conditions conditions, ConditionsOf(filter));
  {
    const sqlite::WorkLimit quick(db, quick_work);
    absl::StatusOr<std::vector<EpisodePosition>> found =
        FindByIndex(db, job_key, order.index, order, conditions, after, limit);
    if (!absl::IsCancelled(found.status())) return found;
  }
  AMC_ASSIGN_OR_RETURN(const Index index, MostSelective(db, job_key, order, conditions));
  return FindByIndex(db, job_key, index, order, conditions, after, limit);
}

}  // namespace amc::rows
