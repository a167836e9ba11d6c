// What a search for zeros within weights leaves unsaid: for server and command line.
#pragma once

#include "amc/v1/job.pb.h"

namespace amc {

// Fills in what is not set of a space with sparsity. Layers keep at least 8 of 256 shares of their
// weights, in steps of 8; of N:M n inputs of m, or all. Paths of residuals do not matter.
inline void SetSparseDefaults(v1::SpaceSpec& space) {
  v1::SparsitySpec& sparsity = *space.mutable_sparsity();
  const bool nm = sparsity.granularity() == v1::GRANULARITY_NM;
  if (sparsity.granularity() == v1::GRANULARITY_UNSPECIFIED) {
    sparsity.set_granularity(v1::GRANULARITY_ELEMENT);
  }
  if (!sparsity.has_n()) sparsity.set_n(2);
  if (!sparsity.has_m()) sparsity.set_m(4);
  if (!sparsity.has_vector_length()) sparsity.set_vector_length(4);
  if (!sparsity.has_block_rows()) sparsity.set_block_rows(4);
  if (!sparsity.has_block_columns()) sparsity.set_block_columns(4);
  if (!sparsity.has_patterns()) sparsity.set_patterns(8);
  if (!sparsity.has_norm()) sparsity.set_norm(1);
  if (!space.has_min_preserve_ratio()) space.set_min_preserve_ratio(0.03);
  if (!space.has_channel_multiple()) space.set_channel_multiple(nm ? 1 : 8);
  if (space.residual_path() == v1::RESIDUAL_PATH_UNSPECIFIED) {
    space.set_residual_path(v1::RESIDUAL_PATH_PRUNE);
  }
}

// How finely the decisions of a space prune.
inline v1::Granularity GranularityOf(const v1::SpaceSpec& space) {
  if (!space.has_sparsity()) return v1::GRANULARITY_CHANNEL;
  const v1::Granularity granularity = space.sparsity().granularity();
  return granularity == v1::GRANULARITY_UNSPECIFIED ? v1::GRANULARITY_ELEMENT : granularity;
}

// What a budget is on that does not say it.
inline v1::Resource DefaultResource(const v1::SpaceSpec& space) {
  return space.has_sparsity() ? v1::RESOURCE_NONZEROS : v1::RESOURCE_MACS;
}

}  // namespace amc
