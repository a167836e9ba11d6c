#include "agent/mlp.h"

// clang needs ivalue.h before the rest of libtorch in C++20.
#include <ATen/core/ivalue.h>
//
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/log.h"

namespace amc {
namespace {

constexpr float kOutputInit = 3e-3f;
constexpr double kBeta1 = 0.9, kBeta2 = 0.999, kEpsilon = 1e-8;  // Adam's defaults
// Moments below it are zero. The units that ReLU has switched off have moments that only decay,
// into the denormal numbers, on which the processor is a hundred times slower.
constexpr float kNegligible = 1e-30f;

// A row-major matrix that lies in an array of ours.
at::Tensor Matrix(const float* data, int64_t rows, int64_t columns) {
  return at::from_blob(const_cast<float*>(data), {rows, columns}, at::kFloat);
}

}  // namespace

Mlp::Mlp(int64_t inputs, int64_t hidden, Output output, Rng& rng)
    : inputs_(inputs), output_(output), activations_(3), deltas_(3) {
  int64_t size = 0;
  for (const auto& [in, out] :
       {std::pair(inputs, hidden), {hidden, hidden}, {hidden, int64_t{1}}}) {
    layers_.push_back({in, out, size, size + in * out});
    size += (in + 1) * out;
  }
  parameters_.resize(size);
  for (const Layer& layer : layers_) {
    const float bound =
        &layer == &layers_.back() ? kOutputInit : 1 / std::sqrt(static_cast<float>(layer.inputs));
    for (int64_t i = layer.weights; i < layer.bias + layer.outputs; ++i) {
      parameters_[i] = static_cast<float>(rng.Uniform(-bound, bound));
    }
  }
  gradient_.resize(size);
}

absl::Span<const float> Mlp::Forward(absl::Span<const float> x) {
  rows_ = static_cast<int64_t>(x.size()) / inputs_;
  AMC_CHECK(rows_ * inputs_ == static_cast<int64_t>(x.size()))
      << x.size() << " numbers are no rows of " << inputs_;
  x_.assign(x.begin(), x.end());
  const float* input = x_.data();
  for (size_t l = 0; l < layers_.size(); ++l) {
    const Layer& layer = layers_[l];
    std::vector<float>& y = activations_[l];
    y.resize(rows_ * layer.outputs);
    at::Tensor product = Matrix(y.data(), rows_, layer.outputs);
    at::mm_out(product, Matrix(input, rows_, layer.inputs),
               Matrix(&parameters_[layer.weights], layer.inputs, layer.outputs));
    const float* bias = &parameters_[layer.bias];
    const bool relu = l + 1 < layers_.size();
    for (int64_t row = 0; row < rows_; ++row) {
      float* values = &y[row * layer.outputs];
      for (int64_t i = 0; i < layer.outputs; ++i) {
        const float value = values[i] + bias[i];
        values[i] = relu ? std::max(value, 0.0f) : value;
      }
    }
    input = y.data();
  }
  std::vector<float>& y = activations_.back();
  if (output_ == Output::kSigmoid) {
    for (float& value : y) value = 1 / (1 + std::exp(-value));
  }
  return y;
}

void Mlp::Deltas(absl::Span<const float> output_gradient) {
  AMC_CHECK(static_cast<int64_t>(output_gradient.size()) == rows_)
      << output_gradient.size() << " gradients for " << rows_ << " rows";
  std::vector<float>& last = deltas_.back();
  last.assign(output_gradient.begin(), output_gradient.end());
  if (output_ == Output::kSigmoid) {
    const std::vector<float>& y = activations_.back();
    for (size_t i = 0; i < last.size(); ++i) last[i] *= y[i] * (1 - y[i]);
  }
  for (size_t l = layers_.size() - 1; l > 0; --l) {
    const Layer& layer = layers_[l];
    std::vector<float>& below = deltas_[l - 1];
    below.resize(rows_ * layer.inputs);
    at::Tensor product = Matrix(below.data(), rows_, layer.inputs);
    at::mm_out(product, Matrix(deltas_[l].data(), rows_, layer.outputs),
               Matrix(&parameters_[layer.weights], layer.inputs, layer.outputs).t());
    const std::vector<float>& y = activations_[l - 1];
    for (size_t i = 0; i < below.size(); ++i) below[i] = y[i] > 0 ? below[i] : 0;
  }
}

absl::Span<const float> Mlp::Backward(absl::Span<const float> output_gradient) {
  Deltas(output_gradient);
  for (size_t l = 0; l < layers_.size(); ++l) {
    const Layer& layer = layers_[l];
    const std::vector<float>& input = l == 0 ? x_ : activations_[l - 1];
    at::Tensor product = Matrix(&gradient_[layer.weights], layer.inputs, layer.outputs);
    at::mm_out(product, Matrix(input.data(), rows_, layer.inputs).t(),
               Matrix(deltas_[l].data(), rows_, layer.outputs));
    float* bias = &gradient_[layer.bias];
    std::fill_n(bias, layer.outputs, 0.0f);
    for (int64_t row = 0; row < rows_; ++row) {
      const float* delta = &deltas_[l][row * layer.outputs];
      for (int64_t i = 0; i < layer.outputs; ++i) bias[i] += delta[i];
    }
  }
  return gradient_;
}

absl::Span<const float> Mlp::InputGradient(absl::Span<const float> output_gradient) {
  Deltas(output_gradient);
  const Layer& layer = layers_.front();
  input_gradient_.resize(rows_ * layer.inputs);
  at::Tensor product = Matrix(input_gradient_.data(), rows_, layer.inputs);
  at::mm_out(product, Matrix(deltas_.front().data(), rows_, layer.outputs),
             Matrix(&parameters_[layer.weights], layer.inputs, layer.outputs).t());
  return input_gradient_;
}

void Adam::Step(absl::Span<const float> gradient, std::vector<float>& parameters) {
  AMC_CHECK(gradient.size() == first_.size() && parameters.size() == first_.size())
      << gradient.size() << " gradients and " << parameters.size() << " parameters, expected "
      << first_.size();
  ++steps_;
  const auto steps = static_cast<double>(steps_);
  // Bias correction folded into the step: lr / (1 - beta1^t), and sqrt(v / (1 - beta2^t)) +
  // epsilon.
  const auto rate = static_cast<float>(learning_rate_ / (1 - std::pow(kBeta1, steps)));
  const auto scale = static_cast<float>(1 / std::sqrt(1 - std::pow(kBeta2, steps)));
  constexpr auto kB1 = static_cast<float>(kBeta1), kB2 = static_cast<float>(kBeta2);
  constexpr auto kNew1 = static_cast<float>(1 - kBeta1), kNew2 = static_cast<float>(1 - kBeta2);
  constexpr auto kSmall = static_cast<float>(kEpsilon);
  const float* g = gradient.data();
  float* m = first_.data();
  float* v = second_.data();
  float* p = parameters.data();
  for (size_t i = 0; i < gradient.size(); ++i) {
    const float first = kB1 * m[i] + kNew1 * g[i];
    const float second = kB2 * v[i] + kNew2 * g[i] * g[i];
    m[i] = std::abs(first) < kNegligible ? 0.0f : first;
    v[i] = second < kNegligible ? 0.0f : second;
    p[i] -= rate * m[i] / (std::sqrt(v[i]) * scale + kSmall);
  }
}

void Adam::Restore(int64_t steps, std::vector<float> first, std::vector<float> second) {
  AMC_CHECK(first.size() == first_.size() && second.size() == second_.size())
      << first.size() << " and " << second.size() << " moments, expected " << first_.size();
  steps_ = steps;
  first_ = std::move(first);
  second_ = std::move(second);
}

void SoftUpdate(absl::Span<const float> source, double tau, std::vector<float>& target) {
  AMC_CHECK(source.size() == target.size()) << source.size() << " parameters for " << target.size();
  const auto step = static_cast<float>(tau);
  for (size_t i = 0; i < source.size(); ++i) target[i] += step * (source[i] - target[i]);
}

}  // namespace amc
