// The memory cgroup of this process: where the kernel says what it may use, and counts what it
// killed for want of memory. Versions 1 and 2, below /sys/fs/cgroup.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace amc {

inline constexpr char kCgroupRoot[] = "/sys/fs/cgroup";

// From the text of /proc/self/cgroup, the file with the line "oom_kill COUNT". Empty if there is no
// memory cgroup.
std::string OomKillsFile(const std::string& self_cgroup, const std::string& root = kCgroupRoot);

// Bytes that the group may use: the least limit of it and of those around it, as far as they can be
// read. None where none of them has one; version 1 says a number beyond any machine's then.
std::optional<int64_t> MemoryLimit(const std::string& self_cgroup,
                                   const std::string& root = kCgroupRoot);

}  // namespace amc
