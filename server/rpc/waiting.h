// What progress says while a job waits for something outside: done 0 of 0, and a message.
#pragma once

namespace amc {

// Such a message begins with this while the server has no space to store something; why follows.
// Whoever follows the job knows the stall by it.
inline constexpr char kWaitingToStore[] = "waiting to store: ";

}  // namespace amc
