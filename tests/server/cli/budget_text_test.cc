#include "server/cli/budget_text.h"

#include <CLI/CLI.hpp>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace amc {
namespace {

using ::testing::HasSubstr;

v1::BudgetBound Parse(const std::string& text) {
  const absl::StatusOr<v1::BudgetBound> bound = ParseBudget(text);
  EXPECT_TRUE(bound.ok()) << text << ": " << bound.status();
  return bound.ok() ? *bound : v1::BudgetBound();
}

TEST(BudgetTextTest, ReadsRatios) {
  EXPECT_EQ(Parse("0.5").ratio(), 0.5);
  EXPECT_EQ(Parse("0.5").resource(), v1::RESOURCE_UNSPECIFIED);
  EXPECT_EQ(Parse("50%").ratio(), 0.5);
  EXPECT_EQ(Parse("1").ratio(), 1);
  EXPECT_EQ(Parse("params=0.25").ratio(), 0.25);
  EXPECT_EQ(Parse("params=0.25").resource(), v1::RESOURCE_PARAMS);
}

TEST(BudgetTextTest, ReadsAmounts) {
  EXPECT_EQ(Parse("40M").absolute(), 40'000'000);
  EXPECT_EQ(Parse("macs=640").absolute(), 640);
  EXPECT_EQ(Parse("model_bytes=1.5M").absolute(), 1'500'000);
  EXPECT_EQ(Parse("memory=512Ki").absolute(), 512 * 1024);
  EXPECT_EQ(Parse("memory=512Ki").resource(), v1::RESOURCE_ACTIVATION_BYTES);
  EXPECT_EQ(Parse("latency=20ms").absolute(), 20'000'000);
  EXPECT_EQ(Parse("latency=350us").absolute(), 350'000);
}

TEST(BudgetTextTest, RefusesWhatIsNeither) {
  for (const char* text :
       {"", "0", "-0.5", "1.5", "nan", "half", "macs=", "macs=20ms", "latency=20", "latency=-3ms",
        "latency=inf", "macs=1Ki", "150%", "0%", "="}) {
    EXPECT_FALSE(ParseBudget(text).ok()) << text;
  }
  EXPECT_THAT(std::string(ParseBudget("flops=0.5").status().message()),
              HasSubstr("\"flops\" is no resource; there are macs, params, activation_bytes"));
  EXPECT_THAT(std::string(ParseBudget("latency=20").status().message()),
              HasSubstr("\"20\" is neither a ratio in (0, 1] nor an amount such as 20ms"));
}

TEST(BudgetTextTest, WritesAmounts) {
  EXPECT_EQ(AmountOf(v1::RESOURCE_MACS, 40'551'040), "40.55 M");
  EXPECT_EQ(AmountOf(v1::RESOURCE_MODEL_BYTES, 1'090'000), "1.09 MB");
  EXPECT_EQ(AmountOf(v1::RESOURCE_LATENCY, 9'836'000), "9.836 ms");
  EXPECT_EQ(AmountOf(v1::RESOURCE_LATENCY, 276'000), "0.2760 ms");
  EXPECT_EQ(AmountOf(v1::RESOURCE_LATENCY, 20'000'000), "20.00 ms");
  EXPECT_EQ(AmountOf(v1::RESOURCE_LATENCY, 12'345'600'000), "12346 ms");
}

TEST(BudgetTextTest, ReadsResources) {
  std::string text = "memory";
  EXPECT_EQ(ResourceText()(text), "");
  EXPECT_EQ(text, "activation_bytes");
  text = "latency";
  EXPECT_EQ(ResourceText()(text), "");
  EXPECT_EQ(text, "latency");
  text = "flops";
  EXPECT_THAT(ResourceText()(text), HasSubstr("\"flops\" is no resource"));
}

}  // namespace
}  // namespace amc
