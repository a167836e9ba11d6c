#include "server/finalists.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "absl/strings/str_format.h"
#include "base/statistics.h"

namespace amc {
namespace {

// Each round gets at least so much tighter.
constexpr double kLeastStep = 0.995;

std::string KeyOf(const v1::Episode& episode) { return episode.policy().SerializeAsString(); }

double Microseconds(int64_t nanoseconds) { return static_cast<double>(nanoseconds) / 1000; }

}  // namespace

std::vector<FinalistEntry> FinalistRounds::Next(const std::vector<FinalistEntry>& history) const {
  std::set<std::string> taken;
  for (const Measured& measured : measured_) taken.insert(KeyOf(measured.entry.episode));
  std::vector<FinalistEntry> next;
  for (const FinalistEntry& entry : history) {
    if (static_cast<int64_t>(next.size()) >= at_a_time_) break;
    if (limit_ns_ > 0 && entry.predicted_ns > limit_ns_) continue;
    if (taken.insert(KeyOf(entry.episode)).second) next.push_back(entry);
  }
  return next;
}

void FinalistRounds::Add(const std::vector<FinalistEntry>& measured,
                         const v1::TimingReport& report) {
  ++rounds_;
  const double original_us = report.original().median_us();
  double limit_us = std::numeric_limits<double>::infinity();
  if (target_.ratio > 0) {
    limit_us = target_.ratio * original_us;
  } else if (target_.limit_ns > 0) {
    limit_us = Microseconds(target_.limit_ns);
  }
  std::vector<double> off;  // how much longer than its share of the limit each took
  for (size_t i = 0; i < measured.size(); ++i) {
    const v1::NetworkTiming& timing = report.policies(static_cast<int>(i));
    Measured& one = measured_.emplace_back();
    one.entry = measured[i];
    one.original_us = original_us;
    one.limit_us = limit_us;
    one.finalist.set_episode(measured[i].episode.number());
    one.finalist.set_predicted_us(Microseconds(measured[i].predicted_ns));
    one.finalist.set_measured_us(timing.median_us());
    one.finalist.set_repeatability(timing.repeatability());
    const double at_worst_us = (1 + kMargin) * timing.median_us();
    one.finalist.set_holds(at_worst_us <= limit_us);
    off.push_back((at_worst_us / limit_us) /
                  (static_cast<double>(measured[i].predicted_ns) /
                   static_cast<double>(std::max<int64_t>(1, target_.limit_ns))));
  }
  if (limit_ns_ == 0 || off.empty() || Best() != nullptr) return;
  // At first by how far off predictions are on the whole; where that was not enough, by the worst.
  const double worst = *std::max_element(off.begin(), off.end());
  const double factor = rounds_ == 1 ? Median(off) : worst;
  const double fitting = static_cast<double>(target_.limit_ns) / factor;
  limit_ns_ = std::max<int64_t>(
      1, std::llround(std::floor(std::min(fitting, kLeastStep * static_cast<double>(limit_ns_)))));
}

const FinalistRounds::Measured* FinalistRounds::Best() const {
  const Measured* best = nullptr;
  for (const Measured& measured : measured_) {
    if (!measured.finalist.holds()) continue;
    if (best == nullptr || measured.entry.episode.reward() > best->entry.episode.reward()) {
      best = &measured;
    }
  }
  return best;
}

std::optional<FinalistEntry> FinalistRounds::winner() const {
  const Measured* const best = Best();
  return best == nullptr ? std::nullopt : std::optional(best->entry);
}

v1::LatencyCheck FinalistRounds::check() const {
  v1::LatencyCheck check;
  check.set_predicted_original_us(Microseconds(target_.predicted_original_ns));
  for (const Measured& measured : measured_) *check.add_finalists() = measured.finalist;
  if (const Measured* const best = Best()) {
    check.set_predicted_us(best->finalist.predicted_us());
    check.set_measured_us(best->finalist.measured_us());
    check.set_measured_original_us(best->original_us);
    if (std::isfinite(best->limit_us)) check.set_limit_us(best->limit_us);
  }
  return check;
}

std::string FinalistRounds::Nearest() const {
  const auto nearer = [](const Measured& a, const Measured& b) {
    return a.finalist.measured_us() / a.limit_us < b.finalist.measured_us() / b.limit_us;
  };
  const auto nearest = std::min_element(measured_.begin(), measured_.end(), nearer);
  if (nearest == measured_.end()) return "none was measured";
  return absl::StrFormat("the nearest took %.4g ms, and %.4g ms are allowed, less %.0f%%",
                         nearest->finalist.measured_us() / 1000, nearest->limit_us / 1000,
                         100 * kMargin);
}

}  // namespace amc
