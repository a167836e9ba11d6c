#include "storage/episode_zones.h"

#include <bit>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "base/status_macros.h"

namespace amc::rows {
namespace {

// Of a double's 64 bits, what tells zones apart: sign, exponent and the first 9 of the fraction.
constexpr int kShift = 64 - (1 + 11 + 9);
constexpr uint64_t kSign = uint64_t{1} << 63;

}  // namespace

int64_t ZoneOf(double value) {
  const auto bits = std::bit_cast<uint64_t>(value + 0.0);  // no -0
  // Unsigned integers that are ordered as the doubles are.
  const uint64_t ordered = (bits & kSign) != 0 ? ~bits : bits | kSign;
  return static_cast<int64_t>(ordered >> kShift);
}

double ZoneStart(int64_t zone) {
  const uint64_t ordered = static_cast<uint64_t>(zone) << kShift;
  const auto value = std::bit_cast<double>((ordered & kSign) != 0 ? ordered & ~kSign : ~ordered);
  // The zones of the infinities reach into what stands for no number.
  return std::isnan(value) ? std::copysign(std::numeric_limits<double>::infinity(), value) : value;
}

absl::Status AddToZones(sqlite::Database& db, int64_t job_key, const EpisodeKeys& keys) {
  const std::pair<ZoneAxis, double> places[] = {
      {ZoneAxis::kNumber, static_cast<double>(keys.number)},
      {ZoneAxis::kReward, keys.reward},
      {ZoneAxis::kTop1, keys.top1},
      {ZoneAxis::kMacs, static_cast<double>(keys.macs)}};
  for (const auto& [axis, value] : places) {
    AMC_RETURN_IF_ERROR(
        db.Run("INSERT INTO episode_zones (job, axis, zone, episodes, low_number, high_number, "
               "high_reward, "
               "high_top1, low_macs, low_params) VALUES (?, ?, ?, 1, ?, ?, ?, ?, ?, ?) "
               "ON CONFLICT (job, axis, zone) DO UPDATE SET episodes = episodes + 1, "
               "low_number = min(low_number, excluded.low_number), "
               "high_number = max(high_number, excluded.high_number), "
               "high_reward = max(high_reward, excluded.high_reward), "
               "high_top1 = max(high_top1, excluded.high_top1), "
               "low_macs = min(low_macs, excluded.low_macs), "
               "low_params = min(low_params, excluded.low_params)",
               job_key, static_cast<int>(axis), ZoneOf(value), keys.number, keys.number,
               keys.reward, keys.top1, keys.macs, keys.params)
            .status());
  }
  return absl::OkStatus();
}

absl::Status DefineZoneFunction(sqlite::Database& db) {
  return db.DefineFunction("amc_zone", &ZoneOf);
}

}  // namespace amc::rows
