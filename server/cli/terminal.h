// The terminal that a person looks at.
#pragma once

#include <cstddef>

namespace amc {

struct TerminalSize {
  size_t columns = 80, rows = 24;
};

// Of the terminal behind a descriptor; 80 x 24 where there is none.
TerminalSize SizeOfTerminal(int fd);

}  // namespace amc
