#include "server/rpc/random_hex.h"

#include <random>

namespace amc {

std::string RandomHex(int digits) {
  std::random_device device;
  std::string hex;
  for (int i = 0; i < digits; ++i) hex += "0123456789abcdef"[device() & 0xf];
  return hex;
}

}  // namespace amc
