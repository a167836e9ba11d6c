#include "base/cgroup.h"

#include <algorithm>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/file.h"

namespace amc {
namespace {

struct MemoryGroup {
  std::string mount;   // the hierarchy's folder
  std::string path;    // of the group in there: "" or "/a/b"
  bool first = false;  // version 1
};

// Lines are "HIERARCHY:CONTROLLERS:PATH"; version 2 has hierarchy 0 and no controllers.
std::optional<MemoryGroup> FindMemoryGroup(const std::string& self_cgroup,
                                           const std::string& root) {
  std::optional<MemoryGroup> second;
  for (const absl::string_view line : absl::StrSplit(self_cgroup, '\n')) {
    const std::vector<std::string> parts = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (parts.size() != 3) continue;
    const std::string path = parts[2] == "/" ? "" : parts[2];
    const std::vector<std::string> controllers = absl::StrSplit(parts[1], ',');
    if (std::find(controllers.begin(), controllers.end(), "memory") != controllers.end()) {
      return MemoryGroup{.mount = root + "/memory", .path = path, .first = true};
    }
    if (parts[0] == "0") second = MemoryGroup{.mount = root, .path = path};
  }
  return second;
}

}  // namespace

std::string OomKillsFile(const std::string& self_cgroup, const std::string& root) {
  const std::optional<MemoryGroup> group = FindMemoryGroup(self_cgroup, root);
  if (!group) return "";
  return absl::StrCat(group->mount, group->path,
                      group->first ? "/memory.oom_control" : "/memory.events");
}

std::optional<int64_t> MemoryLimit(const std::string& self_cgroup, const std::string& root) {
  const std::optional<MemoryGroup> group = FindMemoryGroup(self_cgroup, root);
  if (!group) return std::nullopt;
  std::optional<int64_t> least;
  std::string path = group->path;
  while (true) {
    const absl::StatusOr<std::string> text = ReadFile(
        absl::StrCat(group->mount, path, group->first ? "/memory.limit_in_bytes" : "/memory.max"));
    int64_t limit = 0;  // "max" is no number
    if (text.ok() && absl::SimpleAtoi(absl::StripAsciiWhitespace(*text), &limit) && limit > 0) {
      least = std::min(least.value_or(limit), limit);
    }
    if (path.empty()) return least;
    path.resize(std::min(path.rfind('/'), path.size() - 1));
  }
}

}  // namespace amc
