// A network with two hidden ReLU layers and one output, with its gradients: the actor and the
// critic of DDPG (Lillicrap et al. 2016, section 7; AMC uses 300 and 300).
//
// All parameters lie in one flat array, which makes soft updates, Adam and saved state one loop or
// one copy each. Gradients are written out by hand: for this one shape that is shorter than fitting
// an autograd graph to a flat array, and it touches none of torch's global state. Torch supplies
// the matrix products alone.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "base/rng.h"

namespace amc {

// Thread-compatible. May throw what torch throws; sizes are the caller's to get right.
class Mlp {
 public:
  enum class Output { kLinear, kSigmoid };

  // Hidden weights and biases are uniform in +-1/sqrt(fan-in), the output's in +-0.003, as in the
  // DDPG paper: the first actions and values are then near the middle of their ranges. (AMC's code
  // has PyTorch's default, +-1/sqrt(fan-in), in the last layer too.)
  Mlp(int64_t inputs, int64_t hidden, Output output, Rng& rng);

  int64_t inputs() const { return inputs_; }
  std::vector<float>& parameters() { return parameters_; }
  const std::vector<float>& parameters() const { return parameters_; }

  // `x` is rows x inputs, row-major; the result has one number a row and stays valid until the next
  // call. Backward and InputGradient differentiate the last Forward.
  absl::Span<const float> Forward(absl::Span<const float> x);

  // Given d loss / d output, d loss / d parameters in the order of parameters().
  absl::Span<const float> Backward(absl::Span<const float> output_gradient);
  // Given d loss / d output, d loss / d x.
  absl::Span<const float> InputGradient(absl::Span<const float> output_gradient);

 private:
  struct Layer {
    int64_t inputs = 0, outputs = 0;
    int64_t weights = 0,
            bias = 0;  // where they begin in parameters(); weights are inputs x outputs
  };
  // deltas_[l] = d loss / d (what layer l gives before its nonlinearity).
  void Deltas(absl::Span<const float> output_gradient);

  int64_t inputs_;
  Output output_;
  std::vector<Layer> layers_;
  std::vector<float> parameters_, gradient_, input_gradient_;
  int64_t rows_ = 0;
  std::vector<float> x_;
  std::vector<std::vector<float>> activations_, deltas_;  // one per layer, rows x outputs
};

// Adam (Kingma and Ba 2015, algorithm 1, with its defaults) over a flat array.
class Adam {
 public:
  Adam(size_t size, double learning_rate)
      : learning_rate_(learning_rate), first_(size, 0.0f), second_(size, 0.0f) {}

  void Step(absl::Span<const float> gradient, std::vector<float>& parameters);

  // State: the two moments and how many steps were taken.
  int64_t steps() const { return steps_; }
  const std::vector<float>& first() const { return first_; }
  const std::vector<float>& second() const { return second_; }
  // The moments must have the size that they had.
  void Restore(int64_t steps, std::vector<float> first, std::vector<float> second);

 private:
  double learning_rate_;
  int64_t steps_ = 0;
  std::vector<float> first_, second_;
};

// target += tau * (source - target).
void SoftUpdate(absl::Span<const float> source, double tau, std::vector<float>& target);

}  // namespace amc
