#include "env/cost/activation_memory.h"

#include <algorithm>
#include <array>
#include <limits>
#include <map>
#include <set>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace amc {
namespace {

constexpr std::array kViews = {Op::kDropout, Op::kFlatten, Op::kIdentity,
                               Op::kReshape, Op::kSqueeze, Op::kUnsqueeze};
constexpr std::array kInPlace = {
    Op::kBatchNormalization, Op::kClip, Op::kHardSigmoid, Op::kHardSwish,
    Op::kLeakyRelu,          Op::kRelu, Op::kSigmoid};

// The tensors that hold memory of their own, node by node as they are alive. Several tensors may
// share one memory; the first of them stands for it.
class Timeline {
 public:
  explicit Timeline(const Graph& graph) : graph_(graph), owner_(graph.tensors.size()) {
    for (size_t t = 0; t < owner_.size(); ++t) owner_[t] = static_cast<TensorId>(t);
    last_use_.assign(graph.tensors.size(), -1);
    for (size_t n = 0; n < graph.nodes.size(); ++n) {
      for (const TensorId id : graph.nodes[n].inputs) Use(id, static_cast<int64_t>(n));
    }
    for (const TensorId id : graph.outputs) Use(id, std::numeric_limits<int64_t>::max());
  }

  // Calls `visit(alive)` for the moment at which each node has just made its outputs.
  template <typename Visit>
  absl::Status Walk(Visit visit) {
    std::set<TensorId> alive;
    for (const TensorId id : graph_.inputs) {
      if (!graph_.tensor(id).is_constant) alive.insert(id);
    }
    AMC_RETURN_IF_ERROR(visit(alive));
    for (size_t n = 0; n < graph_.nodes.size(); ++n) {
      const Node& node = graph_.nodes[n];
      const auto now = static_cast<int64_t>(n);
      for (size_t i = 0; i < node.outputs.size(); ++i) {
        const TensorId made = node.outputs[i];
        if (made == TensorId::kNone || graph_.tensor(made).is_constant) continue;
        if (i == 0 && Shares(node, now)) {
          const TensorId owner = owner_[Index(node.inputs[0])];
          owner_[Index(made)] = owner;
          last_use_[Index(owner)] = std::max(last_use_[Index(owner)], last_use_[Index(made)]);
        } else {
          alive.insert(made);
        }
      }
      AMC_RETURN_IF_ERROR(visit(alive));
      for (auto it = alive.begin(); it != alive.end();) {
        it = last_use_[Index(*it)] <= now ? alive.erase(it) : std::next(it);
      }
    }
    return absl::OkStatus();
  }

 private:
  void Use(TensorId id, int64_t when) {
    if (id != TensorId::kNone) last_use_[Index(id)] = std::max(last_use_[Index(id)], when);
  }

  // Whether the first output lies where the first input lay.
  bool Shares(const Node& node, int64_t now) const {
    if (node.inputs.empty() || node.inputs[0] == TensorId::kNone) return false;
    if (graph_.tensor(node.inputs[0]).is_constant) return false;
    if (absl::c_linear_search(kViews, node.op)) return true;
    return absl::c_linear_search(kInPlace, node.op) &&
           last_use_[Index(owner_[Index(node.inputs[0])])] <= now;
  }

  const Graph& graph_;
  std::vector<TensorId> owner_;
  std::vector<int64_t> last_use_;  // index of the node, by tensor
};

absl::StatusOr<int64_t> BytesOf(const Graph& graph, TensorId id) {
  const Tensor& tensor = graph.tensor(id);
  if (!tensor.shape_known) {
    return absl::InvalidArgumentError(
        absl::StrCat("tensor ", tensor.name, " has no shape to count its memory from"));
  }
  AMC_ASSIGN_OR_RETURN(const int64_t elements, NumElements(tensor.shape));
  return elements * ElementSize(tensor.type);
}

class MemoryFunction final : public CostFunction {
 public:
  explicit MemoryFunction(const ActivationMemory& memory) : memory_(memory) {}
  int64_t Evaluate(absl::Span<const int64_t> kept) const override { return memory_.Evaluate(kept); }
  bool monotone() const override { return true; }  // a maximum of sums of growing terms

 private:
  const ActivationMemory& memory_;
};

using Parts = std::map<Extents::Id, int64_t>;  // bytes by extent

// Whether `a` is never below `b`.
bool Covers(const Parts& a, const Parts& b) {
  return absl::c_all_of(b, [&a](const auto& part) {
    const auto found = a.find(part.first);
    return found != a.end() && found->second >= part.second;
  });
}

}  // namespace

absl::StatusOr<ActivationMemory> ActivationMemory::Create(const Graph& graph,
                                                          const Grouping& grouping) {
  ActivationMemory memory;
  memory.extents_ = Extents(grouping);
  std::vector<Parts> moments;
  const auto add = [&](const std::set<TensorId>& alive) -> absl::Status {
    Parts parts;
    for (const TensorId id : alive) {
      AMC_ASSIGN_OR_RETURN(int64_t bytes, BytesOf(graph, id));
      const Shape& shape = graph.tensor(id).shape;
      Extents::Id extent = Extents::kOne;
      for (size_t dim = 0; dim < shape.size(); ++dim) {
        const ChannelAxis* axis = grouping.FindAxis(id, static_cast<int>(dim));
        if (axis == nullptr || shape[dim] <= 0) continue;
        extent = memory.extents_.Of(*axis);
        bytes /= shape[dim];
        break;  // an activation has one channel axis
      }
      parts[extent] += bytes;
    }
    moments.push_back(std::move(parts));
    return absl::OkStatus();
  };
  AMC_RETURN_IF_ERROR(Timeline(graph).Walk(add));
  for (size_t m = 0; m < moments.size(); ++m) {
    bool covered = false;  // by another one; of equal ones the first stays
    for (size_t other = 0; other < moments.size() && !covered; ++other) {
      covered = other != m && Covers(moments[other], moments[m]) &&
                (other < m || !Covers(moments[m], moments[other]));
    }
    if (covered) continue;
    Alive alive;
    for (const auto& [extent, bytes] : moments[m]) {
      if (extent == Extents::kOne) {
        alive.constant += bytes;
      } else {
        alive.parts.emplace_back(extent, bytes);
      }
    }
    memory.moments_.push_back(std::move(alive));
  }
  return memory;
}

int64_t ActivationMemory::Evaluate(absl::Span<const int64_t> kept) const {
  absl::InlinedVector<int64_t, 256> lengths(extents_.size());
  for (size_t e = 0; e < extents_.size(); ++e) {
    lengths[e] = extents_.Length(static_cast<Extents::Id>(e), kept);
  }
  int64_t peak = 0;
  for (const Alive& alive : moments_) {
    int64_t bytes = alive.constant;
    for (const auto& [extent, each] : alive.parts) bytes += each * lengths[extent];
    peak = std::max(peak, bytes);
  }
  return peak;
}

std::unique_ptr<CostFunction> ActivationMemory::Function() const {
  return std::make_unique<MemoryFunction>(*this);
}

absl::StatusOr<int64_t> CountActivationBytes(const Graph& graph) {
  int64_t peak = 0;
  const auto count = [&](const std::set<TensorId>& alive) -> absl::Status {
    int64_t bytes = 0;
    for (const TensorId id : alive) {
      AMC_ASSIGN_OR_RETURN(const int64_t each, BytesOf(graph, id));
      bytes += each;
    }
    peak = std::max(peak, bytes);
    return absl::OkStatus();
  };
  AMC_RETURN_IF_ERROR(Timeline(graph).Walk(count));
  return peak;
}

}  // namespace amc
