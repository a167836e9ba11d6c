// Names for jobs, sessions, workers and requests.
#pragma once

#include <string>

namespace amc {

// `digits` hexadecimal digits from the system's entropy: names that do not collide (12 digits are
// enough for a server's jobs) and, from 32 digits on, that nobody guesses.
std::string RandomHex(int digits);

}  // namespace amc
