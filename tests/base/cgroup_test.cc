#include "base/cgroup.h"

#include "base/file.h"
#include "gtest/gtest.h"

namespace amc {
namespace {

TEST(CgroupTest, KnowsWhereTheKernelCountsItsKills) {
  EXPECT_EQ(OomKillsFile("0::/user.slice/a\n"), "/sys/fs/cgroup/user.slice/a/memory.events");
  EXPECT_EQ(OomKillsFile("0::/\n"), "/sys/fs/cgroup/memory.events");
  EXPECT_EQ(OomKillsFile("9:name=systemd:/\n4:cpu,memory:/box\n0::/\n"),
            "/sys/fs/cgroup/memory/box/memory.oom_control");
  EXPECT_EQ(OomKillsFile(""), "");
}

class MemoryLimitTest : public testing::Test {
 protected:
  void Write(const std::string& group, const std::string& name, const std::string& text) {
    ASSERT_TRUE(MakeDirectories(root_.path() + group).ok());
    ASSERT_TRUE(WriteFileAtomically(root_.path() + group + "/" + name, text).ok());
  }
  std::optional<int64_t> Limit(const std::string& self) { return MemoryLimit(self, root_.path()); }

  TempDirectory root_ = *TempDirectory::Create("amc-cgroup");
};

TEST_F(MemoryLimitTest, IsTheLeastOfTheGroupAndThoseAroundIt) {
  Write("", "memory.max", "max\n");
  Write("/slice", "memory.max", "5000\n");
  Write("/slice/unit", "memory.max", "7000\n");
  EXPECT_EQ(Limit("0::/slice/unit\n"), 5000);
  EXPECT_EQ(Limit("0::/slice/unit/below\n"), 5000);
  Write("/slice/unit", "memory.max", "3000\n");
  EXPECT_EQ(Limit("0::/slice/unit\n"), 3000);
  EXPECT_EQ(Limit("0::/slice\n"), 5000);
  EXPECT_EQ(Limit("0::/\n"), std::nullopt);
}

TEST_F(MemoryLimitTest, IsThatOfAContainerWhoseRootItSees) {
  Write("", "memory.max", "9000\n");
  EXPECT_EQ(Limit("0::/\n"), 9000);
  EXPECT_EQ(Limit("0::/docker/unseen\n"), 9000);
}

TEST_F(MemoryLimitTest, ReadsVersionOneToo) {
  Write("/memory", "memory.limit_in_bytes", "9223372036854771712\n");
  Write("/memory/box", "memory.limit_in_bytes", "6000\n");
  Write("", "memory.max", "1\n");
  EXPECT_EQ(Limit("4:cpu,memory:/box/inner\n0::/box\n"), 6000);
  EXPECT_EQ(Limit("4:memory:/\n"), 9223372036854771712);
}

TEST_F(MemoryLimitTest, IsNoneWithoutAGroup) {
  EXPECT_EQ(Limit(""), std::nullopt);
  EXPECT_EQ(Limit("1:name=systemd:/\n"), std::nullopt);
}

}  // namespace
}  // namespace amc
