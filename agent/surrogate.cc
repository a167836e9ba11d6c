#include "agent/surrogate.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace amc {
namespace {

// Features: the constant, the logarithm (its weight is power - 1), offsets of levels; then of each
// open group its share of the sum, its pruned share, and cosines of that.
constexpr size_t kBias = 0, kPower = 1, kFirstLevel = 2;
constexpr size_t kCosines = 2;
constexpr size_t kPerGroup = 2 + kCosines;

// Prior deviations that are fixed.
constexpr double kBiasDeviation = 2, kPowerDeviation = 0.3, kLevelDeviation = 0.3;
// Of what groups have, times the amplitude that is fitted.
constexpr double kWeightDeviation = 1, kLinearDeviation = 0.2, kCosineDeviation = 0.1;
constexpr double kMostLogWeight = 2;  // that a sample may have

constexpr double kAmplitudes[] = {0.1, 0.3, 0.8};
constexpr double kNoises[] = {0.005, 0.012, 0.03, 0.08, 0.2};
// Variance of the noise that goes with 1 / images, relative to the rest, on a full evaluation.
constexpr double kImageNoises[] = {0.02, 0.1, 0.4};

constexpr double kLeastPower = 0.1;   // a negative one would have losses wanted
constexpr double kLeastShare = 1e-9;  // of the typical sum: logarithms stay finite
constexpr double kPi = 3.14159265358979323846;

}  // namespace

Surrogate::Surrogate(const PolicySpace& space, GroupTables curves, double offset,
                     const Choice& typical, std::vector<int64_t> levels)
    : space_(space),
      curves_(std::move(curves)),
      offset_(offset),
      levels_(std::move(levels)),
      log_weights_(space.num_groups(), 0),
      model_(kFirstLevel + levels_.size() - 1 + kPerGroup * space.open().size(), levels_.size()),
      noise_(levels_.size(), kNoises[0]) {
  scale_ = offset_;
  for (size_t g = 0; g < typical.size(); ++g) scale_ += curves_[g][typical[g]];
  scale_ = std::max(scale_, std::numeric_limits<double>::min());
  centre_ = std::log(scale_);
  functions_.resize(space_.num_groups());
  for (const int32_t g : space_.open()) {
    const double widest = 1 - space_.Ratio(g, 0);
    for (int32_t index = 0; index < space_.num_choices(g); ++index) {
      const double t = (1 - space_.Ratio(g, index)) / widest;
      std::vector<double> values{t};
      for (size_t j = 1; j <= kCosines; ++j) {
        values.push_back(std::cos(kPi * static_cast<double>(j) * t) / static_cast<double>(j * j));
      }
      functions_[g].push_back(std::move(values));
    }
  }
}

size_t Surrogate::Level(int64_t images) const {
  const auto at = std::lower_bound(levels_.begin(), levels_.end(), images);
  return at == levels_.end() || images <= 0 ? levels_.size() - 1 : at - levels_.begin();
}

double Surrogate::LogSum(const Choice& choice, std::vector<double>* shares) const {
  double sum = std::max(offset_, kLeastShare * scale_);
  shares->resize(choice.size());
  for (size_t g = 0; g < choice.size(); ++g) {
    (*shares)[g] = std::exp(log_weights_[g]) * curves_[g][choice[g]];
    sum += (*shares)[g];
  }
  for (double& share : *shares) share /= sum;
  return std::log(sum);
}

std::vector<double> Surrogate::Features(const Choice& choice, size_t level) const {
  std::vector<double> shares;
  std::vector<double> features{1, LogSum(choice, &shares) - centre_};
  for (size_t l = 0; l + 1 < levels_.size(); ++l) features.push_back(l == level ? 1 : 0);
  for (const int32_t g : space_.open()) {
    features.push_back(shares[g]);
    const std::vector<double>& values = functions_[g][choice[g]];
    features.insert(features.end(), values.begin(), values.end());
  }
  return features;
}

void Surrogate::Add(const Choice& choice, double loss, int64_t images) {
  observations_.push_back({choice, std::log(loss), Level(images)});
}

void Surrogate::Linearise() {
  model_ = BayesLinear(model_.features(), levels_.size());
  for (const Observation& observation : observations_) {
    const std::vector<double> features = Features(observation.choice, observation.level);
    double y = observation.z - (features[kPower] + centre_);
    size_t feature = kFirstLevel + levels_.size() - 1;
    for (const int32_t g : space_.open()) {
      y += features[feature] * log_weights_[g];
      feature += kPerGroup;
    }
    model_.Add(features, y, observation.level);
  }
}

double Surrogate::FitLinear(const Deviations& deviations) {
  std::vector<double> prior{kBiasDeviation, kPowerDeviation};
  prior.insert(prior.end(), levels_.size() - 1, kLevelDeviation);
  for (size_t g = 0; g < space_.open().size(); ++g) {
    prior.push_back(deviations.amplitude * kWeightDeviation);
    prior.push_back(deviations.amplitude * kLinearDeviation);
    prior.insert(prior.end(), kCosines, deviations.amplitude * kCosineDeviation);
  }
  for (size_t l = 0; l < levels_.size(); ++l) {
    const double fewer = static_cast<double>(levels_.back()) / static_cast<double>(levels_[l]);
    noise_[l] = deviations.noise * std::sqrt(1 + deviations.image_noise * (fewer - 1));
  }
  return model_.Fit(prior, noise_);
}

// One coordinate of the grid after the other, twice: a third of the work of all combinations.
Surrogate::Deviations Surrogate::ChooseDeviations() {
  Linearise();
  Deviations chosen{
      .amplitude = kAmplitudes[1], .noise = kNoises[2], .image_noise = kImageNoises[1]};
  double best = FitLinear(chosen);
  const auto choose = [&](absl::Span<const double> values, double Deviations::*field) {
    for (const double value : values) {
      Deviations tried = chosen;
      tried.*field = value;
      if (const double likelihood = FitLinear(tried); likelihood > best) {
        best = likelihood;
        chosen = tried;
      }
    }
  };
  for (int round = 0; round < 2; ++round) {
    choose(kNoises, &Deviations::noise);
    choose(kAmplitudes, &Deviations::amplitude);
    if (levels_.size() > 1) choose(kImageNoises, &Deviations::image_noise);
  }
  return chosen;
}

void Surrogate::Fit(const Deviations& deviations) {
  for (const bool last : {false, true}) {
    Linearise();
    FitLinear(deviations);
    if (last) break;
    size_t feature = kFirstLevel + levels_.size() - 1;
    for (const int32_t g : space_.open()) {
      log_weights_[g] = std::clamp(model_.mean()[feature], -kMostLogWeight, kMostLogWeight);
      feature += kPerGroup;
    }
  }
  expected_ = FromWeights(model_.mean());
  constant_ = model_.mean()[kBias] - model_.mean()[kPower] * centre_;
}

double Surrogate::Mean(const Choice& choice) const { return expected_.Value(choice) + constant_; }

double Surrogate::Deviation(const Choice& choice) const {
  return model_.Deviation(Features(choice, levels_.size() - 1));
}

double Surrogate::MeanGiven(const Choice& choice, double loss, int64_t images) const {
  const size_t level = Level(images);
  const double mean = Mean(choice);
  const double offset = level + 1 < levels_.size() ? model_.mean()[kFirstLevel + level] : 0;
  // What is not explained is partly the policy's own, which other images would show too, and partly
  // noise of these images. The fit tells the two apart by how they differ between levels.
  const double full = noise_.back() * noise_.back();
  const double weight = full / (noise_[level] * noise_[level]);
  return mean + 0.5 * weight * (std::log(loss) - offset - mean);
}

const Objective& Surrogate::Expected() const { return expected_; }

Objective Surrogate::Draw(double temperature, Rng& rng) const {
  return FromWeights(model_.Sample(temperature, rng));
}

Objective Surrogate::FromWeights(const std::vector<double>& weights) const {
  Objective objective{.loss = curves_,
                      .bonus = GroupTables(space_.num_groups()),
                      .power = std::max(kLeastPower, 1 + weights[kPower]),
                      .offset = std::max(offset_, kLeastShare * scale_)};
  size_t feature = kFirstLevel + levels_.size() - 1;
  for (size_t g = 0; g < curves_.size(); ++g) {
    objective.bonus[g].assign(space_.num_choices(g), 0.0);
    if (functions_[g].empty()) continue;
    const double weight = std::exp(std::clamp(weights[feature], -kMostLogWeight, kMostLogWeight));
    for (size_t index = 0; index < functions_[g].size(); ++index) {
      objective.loss[g][index] *= weight;
      for (size_t j = 0; j + 1 < kPerGroup; ++j) {
        objective.bonus[g][index] += weights[feature + 1 + j] * functions_[g][index][j];
      }
    }
    feature += kPerGroup;
  }
  return objective;
}

}  // namespace amc
