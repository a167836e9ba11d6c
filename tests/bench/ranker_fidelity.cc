// How well what ranks candidates foretells what is delivered.
//
//   ranker_fidelity MODEL.onnx DATA.pack HISTORY.jsonl [reconstructions=fast,sampled] [skip=1000]
//                   [sampled_images=N] [samples=N] [truth=FILE]
//
// HISTORY has the candidates (`amc history --canonical`); `skip` reward images were looked at when
// they were found, and are left out here. The truth is the KL divergence on the report split after
// strong reconstruction as a winner gets it; it takes long, so FILE keeps it. Prints for every
// reconstruction the correlation of its KL with the truth on the same images, that is what the
// reconstruction alone gets wrong; then for every metric and number of reward images the mean
// correlation over random draws of so many. All over the better three quarters by truth, among
// which a search has to choose, and the first also over all.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <map>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/rng.h"
#include "base/status_macros.h"
#include "env/exec/evaluate.h"
#include "env/graph/onnx_import.h"
#include "env/local_evaluator.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/util/json_util.h"

namespace amc {
namespace {

using Arguments = std::map<std::string, std::string>;
using Values = std::vector<double>;  // of candidates, or of images

constexpr int kDraws = 200;

int64_t IntOf(const Arguments& arguments, const std::string& name, int64_t fallback) {
  const auto found = arguments.find(name);
  int64_t value = 0;
  return found != arguments.end() && absl::SimpleAtoi(found->second, &value) ? value : fallback;
}

absl::StatusOr<std::vector<Policy>> ReadPolicies(const std::string& path) {
  AMC_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  std::vector<Policy> policies;
  for (const std::string& line :
       std::vector<std::string>(absl::StrSplit(text, '\n', absl::SkipEmpty()))) {
    google::protobuf::Struct episode;
    if (!google::protobuf::util::JsonStringToMessage(line, &episode).ok() ||
        episode.fields().count("policy") == 0) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": a line is no JSON with a policy"));
    }
    Policy& policy = policies.emplace_back();
    for (const auto& [group, kept] : episode.fields().at("policy").struct_value().fields()) {
      policy.decisions.push_back(
          {.target = group, .kept = static_cast<int64_t>(kept.number_value())});
    }
  }
  return policies;
}

double Mean(const Values& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

double Correlation(const Values& a, const Values& b, const std::vector<size_t>& among) {
  Values x, y;
  for (const size_t i : among) {
    x.push_back(a[i]);
    y.push_back(b[i]);
  }
  const double mean_x = Mean(x), mean_y = Mean(y);
  double xy = 0, xx = 0, yy = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    xy += (x[i] - mean_x) * (y[i] - mean_y);
    xx += (x[i] - mean_x) * (x[i] - mean_x);
    yy += (y[i] - mean_y) * (y[i] - mean_y);
  }
  return xy / std::sqrt(xx * yy);
}

// What a network does on a split, image by image, against the original's logits.
struct PerImage {
  Values kl, soft_kl, error;
};

class Measurer {
 public:
  static absl::StatusOr<Measurer> Create(const Graph& original, const DataPack& pack) {
    Measurer measurer(pack);
    for (const Split split : {Split::kReward, Split::kReport}) {
      EvaluateOptions evaluate;
      evaluate.logits = &measurer.reference_[split];
      AMC_RETURN_IF_ERROR(Evaluate(original, pack, split, evaluate).status());
    }
    return measurer;
  }

  absl::StatusOr<PerImage> Measure(const Graph& network, Split split) const {
    std::vector<ImageOutcome> outcomes;
    EvaluateOptions evaluate;
    evaluate.outcomes = &outcomes;
    evaluate.reference_logits = reference_.at(split);
    AMC_RETURN_IF_ERROR(Evaluate(network, pack_, split, evaluate).status());
    PerImage found;
    for (const ImageOutcome& outcome : outcomes) {
      found.kl.push_back(outcome.kl);
      found.soft_kl.push_back(outcome.soft_kl);
      found.error.push_back(outcome.top1 ? 0 : 1);
    }
    return found;
  }

 private:
  explicit Measurer(const DataPack& pack) : pack_(pack) {}
  const DataPack& pack_;
  std::map<Split, std::vector<float>> reference_;
};

absl::StatusOr<Values> Truth(LocalEvaluator& evaluator, const Measurer& measurer,
                             const std::vector<Policy>& policies, const std::string& path) {
  Values truth;
  if (const absl::StatusOr<std::string> text = ReadFile(path); !path.empty() && text.ok()) {
    for (const absl::string_view line : absl::StrSplit(*text, '\n', absl::SkipEmpty())) {
      if (!absl::SimpleAtod(line, &truth.emplace_back())) truth.clear();
    }
    if (truth.size() == policies.size()) return truth;
    return absl::InvalidArgumentError(
        absl::StrCat(path, " is not the truth of ", policies.size(), " candidates"));
  }
  for (const Policy& policy : policies) {
    Graph pruned;
    AMC_RETURN_IF_ERROR(
        evaluator.EvaluateOne({.policy = policy, .images = 1}, Reconstruction::kStrong, &pruned)
            .status());
    AMC_ASSIGN_OR_RETURN(const PerImage found, measurer.Measure(pruned, Split::kReport));
    truth.push_back(Mean(found.kl));
    std::fprintf(stderr, "truth %zu of %zu: KL %.4f\n", truth.size(), policies.size(),
                 truth.back());
  }
  if (!path.empty()) {
    AMC_RETURN_IF_ERROR(WriteFileAtomically(path, absl::StrCat(absl::StrJoin(truth, "\n"), "\n")));
  }
  return truth;
}

// The mean correlation with the truth when `count` of the images are drawn.
double DrawnCorrelation(const std::vector<Values>& by_candidate, size_t count, const Values& truth,
                        const std::vector<size_t>& among) {
  Rng rng(0, count);
  double sum = 0;
  for (int draw = 0; draw < kDraws; ++draw) {
    Values means(truth.size(), 0);
    for (size_t i = 0; i < count; ++i) {
      const size_t image = rng.Below(by_candidate[0].size());
      for (size_t c = 0; c < truth.size(); ++c) means[c] += by_candidate[c][image];
    }
    sum += Correlation(means, truth, among);
  }
  return sum / kDraws;
}

absl::Status Run(const std::vector<std::string>& paths, const Arguments& arguments) {
  AMC_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(paths[0]));
  AMC_ASSIGN_OR_RETURN(const Graph graph, ImportOnnx(bytes));
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<DataPack> pack, DataPack::Open(paths[1]));
  AMC_ASSIGN_OR_RETURN(const std::vector<Policy> policies, ReadPolicies(paths[2]));
  LocalEvaluatorOptions options;
  options.reward_images = 1;  // they are measured here
  PruneOptions& prune = options.prune;
  prune.sampled_images = IntOf(arguments, "sampled_images", prune.sampled_images);
  prune.samples_per_layer = IntOf(arguments, "samples", prune.samples_per_layer);
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<LocalEvaluator> evaluator,
                       LocalEvaluator::Create(graph, *pack, options));
  AMC_ASSIGN_OR_RETURN(const Measurer measurer, Measurer::Create(graph, *pack));
  const auto option = [&](const std::string& name, const std::string& fallback) {
    const auto found = arguments.find(name);
    return found == arguments.end() ? fallback : found->second;
  };
  AMC_ASSIGN_OR_RETURN(const Values truth,
                       Truth(*evaluator, measurer, policies, option("truth", "")));
  std::vector<size_t> all(truth.size());
  std::iota(all.begin(), all.end(), 0);
  std::vector<size_t> good = all;
  std::sort(good.begin(), good.end(), [&](size_t a, size_t b) { return truth[a] < truth[b]; });
  good.resize(good.size() * 3 / 4);
  std::printf("%zu candidates, true KL %.4f to %.4f; the better %zu up to %.4f\n", truth.size(),
              truth[good.front()], *std::max_element(truth.begin(), truth.end()), good.size(),
              truth[good.back()]);

  const auto skip = static_cast<size_t>(IntOf(arguments, "skip", 1000));
  for (const std::string& name :
       std::vector<std::string>(absl::StrSplit(option("reconstructions", "fast,sampled"), ','))) {
    AMC_ASSIGN_OR_RETURN(const Reconstruction reconstruction, ParseReconstruction(name));
    Values report;
    std::map<std::string, std::vector<Values>> reward;  // by metric, candidate, image
    double seconds = 0;
    for (const Policy& policy : policies) {
      Graph pruned;
      const std::clock_t start = std::clock();
      AMC_RETURN_IF_ERROR(
          evaluator->EvaluateOne({.policy = policy, .images = 1}, reconstruction, &pruned)
              .status());
      seconds += static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
      AMC_ASSIGN_OR_RETURN(const PerImage on_report, measurer.Measure(pruned, Split::kReport));
      report.push_back(Mean(on_report.kl));
      AMC_ASSIGN_OR_RETURN(const PerImage on_reward, measurer.Measure(pruned, Split::kReward));
      if (on_reward.kl.size() <= skip) {
        return absl::InvalidArgumentError(absl::StrCat("the reward split has ", on_reward.kl.size(),
                                                       " images, ", skip, " are skipped"));
      }
      const auto rest = [&](const Values& values) {
        return Values(values.begin() + static_cast<int64_t>(skip), values.end());
      };
      reward["KL"].push_back(rest(on_reward.kl));
      reward["soft KL"].push_back(rest(on_reward.soft_kl));
      reward["top-1 error"].push_back(rest(on_reward.error));
    }
    std::printf("\n%s: %.2f CPU s each; on the same images %.3f, over all %.3f\n", name.c_str(),
                seconds / static_cast<double>(policies.size()), Correlation(report, truth, good),
                Correlation(report, truth, all));
    std::printf("%-12s %7s %7s %7s %7s\n", "images", "250", "500", "1000", "2000");
    for (const auto& [metric, by_candidate] : reward) {
      std::printf("%-12s", metric.c_str());
      for (const size_t count : {250, 500, 1000, 2000}) {
        std::printf(" %7.3f", DrawnCorrelation(by_candidate, count, truth, good));
      }
      std::printf("\n");
    }
    std::fflush(stdout);
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace amc

int main(int argc, char** argv) {
  std::vector<std::string> paths;
  amc::Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const size_t equals = argument.find('=');
    if (paths.size() < 3) {
      paths.push_back(argument);
    } else if (equals != std::string::npos) {
      arguments[argument.substr(0, equals)] = argument.substr(equals + 1);
    }
  }
  if (paths.size() < 3) {
    std::fprintf(stderr,
                 "usage: ranker_fidelity MODEL.onnx DATA.pack HISTORY.jsonl [NAME=VALUE ...]\n");
    return 2;
  }
  const absl::Status status = amc::Run(paths, arguments);
  if (!status.ok()) std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  return status.ok() ? 0 : 1;
}
