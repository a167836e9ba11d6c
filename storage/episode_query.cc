#include "storage/episode_query.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "storage/episode_zones.h"

namespace amc::rows {
namespace {

using sqlite::Database;
using sqlite::Number;
using sqlite::Statement;

struct Index {
  absl::string_view name, column;
  ZoneAxis axis;
};
constexpr Index kByNumber{"episodes_by_number", "number", ZoneAxis::kNumber};
constexpr Index kByReward{"episodes_by_reward", "reward", ZoneAxis::kReward};
constexpr Index kByMacs{"episodes_by_macs", "macs", ZoneAxis::kMacs};
constexpr Index kByTop1{"episodes_by_top1", "top1", ZoneAxis::kTop1};

// An order as SQL: by the index's column, ties by number.
struct Order {
  Index index;
  bool descending = false;
  std::string kinds = {};  // " AND kind IN (1, 3)", or nothing
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

// What leaves the other kinds out. The zones know nothing of kinds: a condition on each row.
absl::StatusOr<std::string> KindCondition(const v1::EpisodeFilter& filter) {
  std::set<int> kinds;
  for (const int kind : filter.kinds()) {
    if (!v1::EpisodeKind_IsValid(kind) || kind == v1::EPISODE_KIND_UNSPECIFIED) {
      return absl::InvalidArgumentError(
          absl::StrCat("filter: kinds: ", kind, " is none of EpisodeKind"));
    }
    kinds.insert(kind);
  }
  if (kinds.empty()) return std::string();
  return absl::StrCat(" AND kind IN (", absl::StrJoin(kinds, ", "), ")");
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

// An integer and a double compare as sqlite3 compares them: exactly.
bool Less(const Number& a, const Number& b) {
  static_assert(std::numeric_limits<long double>::digits >= 64);
  const auto wide = [](const Number& number) {
    return std::visit([](auto value) { return static_cast<long double>(value); }, number);
  };
  return wide(a) < wide(b);
}

// The conditions with at most one lower and one upper bound per column, the narrowest, or one value
// alone; nullopt where no number meets them all. Of several bounds sqlite3 takes one to walk by and
// tests the others on every row, and not the narrowest: not even an equality before a range.
std::optional<Conditions> Narrowest(const Conditions& conditions) {
  struct Bounds {
    std::optional<Condition> low, high;
  };
  std::map<absl::string_view, Bounds> columns;
  for (const Condition& condition : conditions) {
    auto& [low, high] = columns[condition.column];
    const bool strict = condition.comparison == "<" || condition.comparison == ">";
    const bool is_low = condition.comparison[0] != '<', is_high = condition.comparison[0] != '>';
    if (is_low && (!low.has_value() || Less(low->value, condition.value) ||
                   (strict && !Less(condition.value, low->value)))) {
      low = condition;
    }
    if (is_high && (!high.has_value() || Less(condition.value, high->value) ||
                    (strict && !Less(high->value, condition.value)))) {
      high = condition;
    }
  }
  Conditions narrowest;
  for (const auto& [column, bounds] : columns) {
    const auto& [low, high] = bounds;
    if (low.has_value() && high.has_value()) {
      if (Less(high->value, low->value)) return std::nullopt;
      if (!Less(low->value, high->value)) {
        if (low->comparison == ">" || high->comparison == "<") return std::nullopt;
        narrowest.push_back({column, "=", low->value});
        continue;
      }
    }
    if (low.has_value()) narrowest.push_back(*low);
    if (high.has_value()) narrowest.push_back(*high);
  }
  return narrowest;
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
      Statement row, db.QueryNumbers(absl::StrCat("SELECT rowid, number, ", order.column(),
                                                  source.sql, order.kinds, " ORDER BY ",
                                                  order.column(), order.descending ? " DESC" : "",
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
  for (Conditions range : RangesAfter(order, after)) {
    if (static_cast<int64_t>(found.size()) == limit) break;
    range.insert(range.end(), conditions.begin(), conditions.end());
    const std::optional<Conditions> narrowest = Narrowest(range);
    if (!narrowest.has_value()) continue;  // such as a stretch that ends before `after`
    Source source(index, job_key);
    for (const Condition& condition : *narrowest) source.Add(condition);
    AMC_RETURN_IF_ERROR(Collect(db, order, std::move(source), limit, found));
  }
  return found;
}

// The bound of a zone that says whether any of its episodes can meet a condition.
std::string ZoneCondition(const Condition& condition) {
  const bool at_least = condition.comparison == ">=";
  return absl::StrCat(at_least ? "high_" : "low_", condition.column, " ", condition.comparison,
                      " ?");
}

// Stretches of an axis, in the order's direction, from the lowest value of the first zone to below
// that of the next after the last.
struct Stretch {
  int64_t first = 0, last = 0;
};
struct Stretches {
  std::vector<Stretch> stretches;
  int64_t episodes = 0;  // in all of them
};

// Those in which episodes may meet all conditions.
absl::StatusOr<Stretches> Promising(Database& db, int64_t job_key, const Index& index,
                                    bool descending, const Conditions& conditions) {
  std::string fits = "1";
  std::vector<Number> values;
  for (const Condition& condition : conditions) {
    absl::StrAppend(&fits, " AND ", ZoneCondition(condition));
    values.push_back(condition.value);
  }
  values.insert(values.end(), {job_key, static_cast<int64_t>(index.axis)});
  AMC_ASSIGN_OR_RETURN(
      Statement row, db.QueryNumbers(absl::StrCat("SELECT zone, episodes, ", fits,
                                                  " FROM episode_zones WHERE job = ? AND axis = ? "
                                                  "ORDER BY zone",
                                                  descending ? " DESC" : ""),
                                     values));
  Stretches found;
  bool goes_on = false;  // over zones without an episode, which have no row
  for (;;) {
    AMC_ASSIGN_OR_RETURN(const bool more, row.Step());
    if (!more) return found;
    const int64_t zone = row.Int(0);
    const bool promising = row.Int(2) != 0;
    if (promising) {
      found.episodes += row.Int(1);
      if (!goes_on) found.stretches.push_back({zone, zone});
      (descending ? found.stretches.back().first : found.stretches.back().last) = zone;
    }
    goes_on = promising;
  }
}

// The first `limit` along the order among a stretch of an index, which need not be the order's.
absl::Status FindInStretch(Database& db, int64_t job_key, const Index& index,
                           const Stretch& stretch, const Order& order, Conditions conditions,
                           const std::optional<EpisodePosition>& after, int64_t limit,
                           std::vector<EpisodePosition>& found) {
  conditions.push_back({index.column, ">=", ZoneStart(stretch.first)});
  const double above = ZoneStart(stretch.last + 1);
  if (!std::isinf(above)) conditions.push_back({index.column, "<", above});  // else takes infinity
  AMC_ASSIGN_OR_RETURN(const std::vector<EpisodePosition> more,
                       FindByIndex(db, job_key, index, order, conditions, after, limit));
  found.insert(found.end(), more.begin(), more.end());
  return absl::OkStatus();
}

// Along the order's zones; or, where few episodes lie in what another axis leaves, among those.
absl::StatusOr<std::vector<EpisodePosition>> FindByZones(
    Database& db, int64_t job_key, const Order& order, const Conditions& conditions,
    const std::optional<EpisodePosition>& after, int64_t limit, int64_t few_episodes) {
  Index index = order.index;
  AMC_ASSIGN_OR_RETURN(Stretches best, Promising(db, job_key, index, order.descending, conditions));
  if (best.episodes > few_episodes) {
    for (const Index& other : {kByReward, kByMacs, kByTop1}) {
      AMC_ASSIGN_OR_RETURN(Stretches stretches,
                           Promising(db, job_key, other, order.descending, conditions));
      if (stretches.episodes > std::min(few_episodes, best.episodes)) continue;
      index = other;
      best = std::move(stretches);
    }
  }
  const bool in_order = index.column == order.column();
  std::vector<EpisodePosition> found;
  for (const Stretch& stretch : best.stretches) {
    const int64_t missing = in_order ? limit - static_cast<int64_t>(found.size()) : limit;
    if (missing == 0) break;
    AMC_RETURN_IF_ERROR(
        FindInStretch(db, job_key, index, stretch, order, conditions, after, missing, found));
  }
  if (in_order) return found;
  std::sort(found.begin(), found.end(), [&order](const auto& a, const auto& b) {
    if (order.by_number() || a.key == b.key) return a.number < b.number;
    return order.descending ? b.key < a.key : a.key < b.key;
  });
  if (static_cast<int64_t>(found.size()) > limit) found.resize(static_cast<size_t>(limit));
  return found;
}

}  // namespace

absl::StatusOr<std::vector<EpisodePosition>> FindEpisodes(
    Database& db, int64_t job_key, v1::EpisodeOrder requested, const v1::EpisodeFilter& filter,
    const std::optional<EpisodePosition>& after, int64_t limit, int64_t quick_work,
    int64_t few_episodes) {
  AMC_ASSIGN_OR_RETURN(Order order, OrderOf(requested));
  AMC_ASSIGN_OR_RETURN(order.kinds, KindCondition(filter));
  AMC_ASSIGN_OR_RETURN(const Conditions conditions, ConditionsOf(filter));
  if (quick_work > 0) {
    const sqlite::WorkLimit quick(db, quick_work);
    absl::StatusOr<std::vector<EpisodePosition>> found =
        FindByIndex(db, job_key, order.index, order, conditions, after, limit);
    if (!absl::IsCancelled(found.status())) return found;
  }
  return FindByZones(db, job_key, order, conditions, after, limit, few_episodes);
}

}  // namespace amc::rows
