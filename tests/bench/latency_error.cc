// How far a latency table's predictions are off, on pruned networks that no fit has seen.
//
//   latency_error MODEL.onnx TABLE.csv [networks=30] [equal=20] [multiple=8] [permille=10]
//   [seed=1000]
//
// Times `networks` versions spread over 0.3 to 1 of the original's latency, and `equal` ones whose
// MACs are half of the original's within 2%, on the table's runtime (this must be its device) until
// the medians' standard errors are within `permille` of them, and prints errors and rank
// correlations beside what is wanted of them: a median error of at most max(5%, twice the
// repeatability), a 95th percentile of at most max(12%, three times), and among networks of equal
// MACs a rank correlation of at least 0.8, above that of their MACs.
//
// Errors are given too of shares of the original's time, which is timed with the others: those do
// not mind if the whole machine is faster or slower now than when the table was measured.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "agent/fit.h"
#include "base/file.h"
#include "base/rng.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "env/amc_env.h"
#include "env/graph/onnx_import.h"
#include "env/latency_calibration.h"
#include "env/measure/sampler.h"

namespace amc {
namespace {

using Arguments = std::map<std::string, int64_t>;
using Policies = std::vector<std::vector<int64_t>>;

constexpr size_t kBends = 5;  // of the shares' profile over the depth

// Shares that differ as much between early and late groups as between neighbours.
std::vector<double> RandomShares(size_t groups, Rng& rng) {
  double bends[kBends];
  for (double& bend : bends) bend = std::pow(10, rng.Uniform(-1, 0));
  std::vector<double> shares;
  for (size_t g = 0; g < groups; ++g) {
    const double at = (kBends - 1) * static_cast<double>(g) / static_cast<double>(groups);
    const auto bend = static_cast<size_t>(at);
    const double way = at - static_cast<double>(bend);
    const double profile = (1 - way) * bends[bend] + way * bends[bend + 1];
    shares.push_back(profile * rng.Uniform(0.5, 1));
  }
  return shares;
}

// Random policies of half of the MACs.
absl::StatusOr<Policies> EqualMacs(const Graph& graph, const Arguments& arguments) {
  EnvOptions options;
  options.budget = {{.resource = Resource::kMacs, .ratio = 0.5}};
  options.channel_multiple = arguments.at("multiple");
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<AmcEnv> env, AmcEnv::Create(graph, options));
  Rng rng(static_cast<uint64_t>(arguments.at("seed")), 1);
  Policies policies;
  for (int64_t tries = 0; static_cast<int64_t>(policies.size()) < arguments.at("equal"); ++tries) {
    if (tries > 1000 * arguments.at("equal")) {
      return absl::OutOfRangeError("too few random policies have half of the MACs within 2%");
    }
    Fit fit(*env);
    fit.ScaleToBudget(RandomShares(fit.kept().size(), rng));
    const auto budget = static_cast<double>(env->budget());
    if (!fit.fits() || static_cast<double>(fit.cost()) < 0.98 * budget) continue;
    policies.push_back(fit.kept());
  }
  return policies;
}

std::vector<double> Ranks(const std::vector<double>& values) {
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return values[a] < values[b]; });
  std::vector<double> ranks(values.size());
  for (size_t begin = 0; begin < order.size();) {
    size_t end = begin;
    while (end < order.size() && values[order[end]] == values[order[begin]]) ++end;
    for (size_t i = begin; i < end; ++i) {
      ranks[order[i]] = static_cast<double>(begin + end - 1) / 2;  // ties share theirs
    }
    begin = end;
  }
  return ranks;
}

// Spearman's; 0 where one side does not vary.
double RankCorrelation(const std::vector<double>& a, const std::vector<double>& b) {
  const std::vector<double> x = Ranks(a), y = Ranks(b);
  const double mean = static_cast<double>(x.size() - 1) / 2;
  double xy = 0, xx = 0, yy = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    xy += (x[i] - mean) * (y[i] - mean);
    xx += (x[i] - mean) * (x[i] - mean);
    yy += (y[i] - mean) * (y[i] - mean);
  }
  return xx > 0 && yy > 0 ? xy / std::sqrt(xx * yy) : 0;
}

absl::Status Run(const std::string& model_path, const std::string& table_path,
                 const Arguments& arguments) {
  AMC_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(model_path));
  AMC_ASSIGN_OR_RETURN(const Graph graph, ImportOnnx(bytes));
  AMC_ASSIGN_OR_RETURN(const Grouping grouping, BuildGroups(graph));
  AMC_ASSIGN_OR_RETURN(const CostModel costs, CostModel::Create(graph, grouping));
  AMC_ASSIGN_OR_RETURN(const std::string csv, ReadFile(table_path));
  AMC_ASSIGN_OR_RETURN(const LatencyTable table, ReadLatencyCsv(csv));
  AMC_ASSIGN_OR_RETURN(const LatencyModel model,
                       LatencyModel::Create(graph, grouping, table, Sha256Hex(bytes)));
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<Runtime> runtime,
                       CreateRuntime(table.setting.runtime, {.threads = table.setting.threads,
                                                             .batch = table.setting.batch}));
  if (runtime->setting().device != table.setting.device) {
    std::fprintf(stderr, "note: the table is of %s, this is %s\n", table.setting.device.c_str(),
                 runtime->setting().device.c_str());
  }
  CalibrationOptions options;
  options.channel_multiple = arguments.at("multiple");
  Policies policies = SpreadPolicies(grouping, model, arguments.at("networks"), options,
                                     static_cast<uint64_t>(arguments.at("seed")));
  const size_t spread = policies.size();
  AMC_ASSIGN_OR_RETURN(const Policies equal, EqualMacs(graph, arguments));
  policies.insert(policies.end(), equal.begin(), equal.end());
  policies.emplace_back(costs.channels().begin(), costs.channels().end());
  MeasureOptions measure;
  measure.sampler.tolerance = static_cast<double>(arguments.at("permille")) / 1000;
  AMC_ASSIGN_OR_RETURN(const std::vector<TimedPolicy> timed,
                       TimePolicies(*runtime, graph, grouping, model, policies, measure, nullptr));

  // How much faster or slower the machine is now than when the table was measured.
  const double drift =
      timed.back().measured_us / (static_cast<double>(model.Evaluate(timed.back().kept)) / 1000);
  std::vector<double> errors, shares, repeatability, predicted_equal, measured_equal, macs_equal;
  std::printf("%8s %12s %12s %8s\n", "MACs M", "predicted us", "measured us", "error");
  for (size_t i = 0; i + 1 < timed.size(); ++i) {
    const double predicted = static_cast<double>(model.Evaluate(timed[i].kept)) / 1000;
    const double measured = timed[i].measured_us;
    const auto macs = static_cast<double>(costs.Evaluate(timed[i].kept).macs);
    std::printf("%8.2f %12.1f %12.1f %7.1f%%%s\n", macs / 1e6, predicted, measured,
                100 * (predicted / measured - 1), i < spread ? "" : "  equal MACs");
    repeatability.push_back(timed[i].repeatability);
    if (i < spread) {
      errors.push_back(std::abs(predicted / measured - 1));
      shares.push_back(std::abs(drift * predicted / measured - 1));
    } else {
      predicted_equal.push_back(predicted);
      measured_equal.push_back(measured);
      macs_equal.push_back(macs);
    }
  }
  const double same = Median(repeatability);
  std::printf("repeatability %.1f%%\n", 100 * same);
  std::printf("median error %.1f%%, wanted at most %.1f%%\n", 100 * Median(errors),
              100 * std::max(0.05, 2 * same));
  std::printf("95th percentile %.1f%%, wanted at most %.1f%%\n", 100 * Quantile(errors, 0.95),
              100 * std::max(0.12, 3 * same));
  std::printf("as shares of the original's time: %.1f%%, %.1f%%; it took %.3f of its prediction\n",
              100 * Median(shares), 100 * Quantile(shares, 0.95), drift);
  std::printf("equal MACs: rank correlation %.3f (of their MACs %.3f), wanted at least 0.8\n",
              RankCorrelation(predicted_equal, measured_equal),
              RankCorrelation(macs_equal, measured_equal));
  return absl::OkStatus();
}

}  // namespace
}  // namespace amc

int main(int argc, char** argv) {
  amc::Arguments arguments = {
      {"networks", 30}, {"equal", 20}, {"multiple", 8}, {"permille", 10}, {"seed", 1000}};
  bool good = argc >= 3;
  for (int i = 3; good && i < argc; ++i) {
    const std::string argument = argv[i];
    const size_t equals = std::min(argument.find('='), argument.size());
    const auto found = arguments.find(argument.substr(0, equals));
    good = found != arguments.end() && equals < argument.size() &&
           absl::SimpleAtoi(argument.substr(equals + 1), &found->second) && found->second > 0;
  }
  if (!good) {
    std::fprintf(stderr,
                 "usage: latency_error MODEL.onnx TABLE.csv [networks=30] [equal=20] [multiple=8] "
                 "[permille=10] [seed=1000]\n");
    return 2;
  }
  const absl::Status status = amc::Run(argv[1], argv[2], arguments);
  if (!status.ok()) {
    std::fprintf(stderr, "latency_error: %s\n", status.ToString().c_str());
    return 1;
  }
  return 0;
}
