// What sparse_kernels found, as a table for people, a chart, and tables for programs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace amc::bench {

struct KernelTimes {
  std::string kernel = {};
  // One per density, of kernels that do not depend on it the same. Dense time / this kernel's.
  std::vector<double> speedups = {};
};

// Where the speedup falls through 1, between densities interpolated in logarithms: "0.234"; "<0.01"
// or ">0.5" where it is below or above 1 throughout.
std::string BreakEven(const KernelTimes& kernel, const std::vector<double>& densities);

struct LayerTimes {
  std::string layer = {};  // "conv 64x64@28x28"
  int64_t rows = 0, columns = 0, vectors = 0;
  double dense_us = 0;
  std::vector<KernelTimes> kernels = {};

  const KernelTimes* Find(absl::string_view kernel) const;
};

struct SparseReport {
  std::string device = {};
  std::vector<double> densities = {};
  std::vector<LayerTimes> layers = {};
};

std::string ToTable(const SparseReport& report);
// layer,rows,columns,vectors,kernel,density,us,dense_us,speedup
std::string ToCsv(const SparseReport& report);
std::string ToJson(const SparseReport& report);
// Speedup against density, both logarithmic, a panel for each layer.
std::string ToSvg(const SparseReport& report);

}  // namespace amc::bench
