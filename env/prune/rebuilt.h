// A network whose weights were fitted anew, and what that took.
#pragma once

#include <cstdint>

#include "env/graph/graph.h"

namespace amc {

struct Rebuilt {
  Graph graph;
  int64_t work = 0;  // multiply-accumulates of what was forwarded
};

}  // namespace amc
