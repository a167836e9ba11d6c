#include "env/exec/evaluate.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "env/exec/network.h"

namespace amc {
namespace {

// How many classes stand before `label` when sorted by logit, ties by index. NaN stands first, so
// that a network that diverged is never right.
int64_t Rank(absl::Span<const float> logits, size_t label) {
  if (std::isnan(logits[label])) return static_cast<int64_t>(logits.size());
  int64_t rank = 0;
  for (size_t j = 0; j < logits.size(); ++j) {
    if (!(logits[j] <= logits[label]) || (logits[j] == logits[label] && j < label)) ++rank;
  }
  return rank;
}

// Natural logarithms of the softmax of logits / temperature.
std::vector<double> LogSoftmax(absl::Span<const float> logits, double temperature = 1) {
  const double highest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp((logit - highest) / temperature);
  const double offset = std::log(sum);
  std::vector<double> result;
  result.reserve(logits.size());
  for (const float logit : logits) result.push_back((logit - highest) / temperature - offset);
  return result;
}

double KlDivergence(const std::vector<double>& log_p, const std::vector<double>& log_q) {
  double kl = 0;
  for (size_t j = 0; j < log_p.size(); ++j) kl += std::exp(log_p[j]) * (log_p[j] - log_q[j]);
  return kl;
}

// Times the square of the temperature: the scale of what is not softened.
double SoftKl(absl::Span<const float> reference, absl::Span<const float> logits) {
  return kSoftTemperature * kSoftTemperature *
         KlDivergence(LogSoftmax(reference, kSoftTemperature),
                      LogSoftmax(logits, kSoftTemperature));
}

absl::Status CheckFit(const Graph& graph, const DataPack& pack) {
  if (graph.inputs.size() != 1 || graph.outputs.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("the network has ", graph.inputs.size(),
                                                   " inputs and ", graph.outputs.size(),
                                                   " outputs, want 1 and at least 1"));
  }
  const Tensor& input = graph.tensor(graph.inputs[0]);
  const Shape image = {pack.channels(), pack.height(), pack.width()};
  if (!input.shape_known || input.shape.size() != 4 ||
      !std::equal(image.begin(), image.end(), input.shape.begin() + 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("network input ", input.name, " is ",
                     input.shape_known ? ShapeToString(input.shape) : "of unknown shape",
                     ", the data pack's images are ", ShapeToString(image)));
  }
  return absl::OkStatus();
}

}  // namespace

double MeanKl(absl::Span<const float> reference, absl::Span<const float> other, int64_t classes) {
  const auto columns = static_cast<size_t>(classes);
  const size_t rows = reference.size() / columns;
  double total = 0;
  for (size_t at = 0; at < reference.size(); at += columns) {
    total += KlDivergence(LogSoftmax(reference.subspan(at, columns)),
                          LogSoftmax(other.subspan(at, columns)));
  }
  return total / static_cast<double>(rows);
}

std::string DescribeNotFinite(const Quality& quality, Split split) {
  if (quality.not_finite == 0) return "";
  return absl::StrCat("the logits of ", quality.not_finite, " of ", quality.images, " ",
                      SplitName(split), " images are not finite");
}

absl::StatusOr<Quality> Evaluate(const Graph& graph, const DataPack& pack, Split split,
                                 const EvaluateOptions& options) {
  AMC_RETURN_IF_ERROR(CheckFit(graph, pack));
  int64_t total = pack.size(split);
  if (options.max_images > 0) total = std::min(total, options.max_images);
  if (total == 0) {
    return absl::InvalidArgumentError(absl::StrCat("split ", SplitName(split), " is empty"));
  }
  const size_t classes = pack.class_names().size();
  if (!options.reference_logits.empty() &&
      options.reference_logits.size() != static_cast<size_t>(total) * classes) {
    return absl::InvalidArgumentError(absl::StrCat(options.reference_logits.size(),
                                                   " reference logits for ", total, " images of ",
                                                   classes, " classes"));
  }
  const PrefixCache* const prefix = options.start.cache;
  if (prefix != nullptr && prefix->images() != total) {
    return absl::InvalidArgumentError(absl::StrCat("activations of ", prefix->images(),
                                                   " images are kept, ", total, " are asked for"));
  }
  AMC_ASSIGN_OR_RETURN(const std::unique_ptr<Network> network,
                       Network::Create(graph, options.exec));
  if (options.outcomes != nullptr) options.outcomes->clear();
  if (options.logits != nullptr) options.logits->clear();
  const absl::Span<const int32_t> labels = pack.labels(split);
  Quality quality;
  quality.images = total;
  for (int64_t first = 0; first < total; first += options.exec.batch_size) {
    const int64_t count = std::min(options.exec.batch_size, total - first);
    const auto batch = static_cast<size_t>(first / options.exec.batch_size);
    AMC_ASSIGN_OR_RETURN(const std::vector<float> logits,
                         prefix != nullptr ? network->RunFrom(options.start, batch)
                                           : network->Run(pack.Images(split, first, count), count));
    if (logits.size() != static_cast<size_t>(count) * classes) {
      return absl::InvalidArgumentError(absl::StrCat("the network gives ",
                                                     logits.size() / static_cast<size_t>(count),
                                                     " classes, the data pack has ", classes));
    }
    for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
      const size_t image = static_cast<size_t>(first) + i;
      const absl::Span<const float> row = absl::MakeConstSpan(logits).subspan(i * classes, classes);
      const bool finite =
          std::all_of(row.begin(), row.end(), [](float logit) { return std::isfinite(logit); });
      quality.not_finite += finite ? 0 : 1;
      const auto label = static_cast<size_t>(labels[image]);
      const int64_t rank = Rank(row, label);
      quality.top1 += rank < 1 ? 1 : 0;
      quality.top5 += rank < 5 ? 1 : 0;
      const std::vector<double> log_q = LogSoftmax(row);
      quality.loss -= log_q[label];
      ImageOutcome outcome{.top1 = rank < 1};
      if (!options.reference_logits.empty()) {
        const absl::Span<const float> reference =
            options.reference_logits.subspan(image * classes, classes);
        outcome.kl = KlDivergence(LogSoftmax(reference), log_q);
        outcome.soft_kl = SoftKl(reference, row);
      }
      quality.kl += outcome.kl;
      quality.soft_kl += outcome.soft_kl;
      if (options.outcomes != nullptr) options.outcomes->push_back(outcome);
    }
    if (options.logits != nullptr) {
      options.logits->insert(options.logits->end(), logits.begin(), logits.end());
    }
    if (options.progress) options.progress(first + count, total);
  }
  const auto images = static_cast<double>(total);
  quality.top1 /= images;
  quality.top5 /= images;
  quality.loss /= images;
  quality.kl /= images;
  quality.soft_kl /= images;
  return quality;
}

}  // namespace amc
