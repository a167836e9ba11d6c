// What the server takes from a worker as a task's result.
#include "server/task_result.h"

#include <limits>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace amc {
namespace {

using ::testing::HasSubstr;

// A task for two points of a layer, and its result.
class LayerResultTest : public ::testing::Test {
 protected:
  void SetUp() override {
    task_.kind = v1::TASK_KIND_MEASURE_LAYERS;
    v1::LatencySetting& setting = *task_.timing.mutable_setting();
    setting.set_runtime("libtorch");
    setting.set_threads(2);
    setting.set_batch(1);
    v1::LayerPoints& points = *task_.timing.mutable_layers();
    points.set_layer("conv 3x3");
    *report_.mutable_setting() = setting;
    report_.mutable_setting()->set_device("CPU A");
    report_.mutable_setting()->set_version("1.13.1");
    for (const int64_t out : {8, 16}) {
      points.add_in(4);
      points.add_out(out);
      v1::LatencyRow& row = *report_.add_rows();
      row.set_layer("conv 3x3");
      row.set_in(4);
      row.set_out(out);
      row.set_median_us(3.5);
    }
    report_.set_reference_us(100);
  }

  std::string Why() const {
    v1::TaskResult result;
    *result.mutable_layers() = report_;
    const absl::Status status = CheckResult(task_, result);
    EXPECT_TRUE(status.ok() || absl::IsInvalidArgument(status)) << status;
    return std::string(status.message());
  }

  TaskRecord task_;
  v1::LayerReport report_;
};

TEST_F(LayerResultTest, TakesWhatWasOrdered) {
  EXPECT_EQ(Why(), "");
  task_.timing.mutable_setting()->set_device("CPU A");
  task_.timing.mutable_setting()->set_version("1.13.1");
  EXPECT_EQ(Why(), "");
}

TEST_F(LayerResultTest, RefusesAnotherSetting) {
  task_.timing.mutable_setting()->set_device("CPU B");
  EXPECT_THAT(Why(), HasSubstr("result.layers.setting: libtorch 1.13.1 on CPU A"));
  task_.timing.mutable_setting()->clear_device();
  report_.mutable_setting()->set_threads(1);
  EXPECT_THAT(Why(), HasSubstr("result.layers.setting"));
  report_.mutable_setting()->set_threads(2);
  report_.mutable_setting()->clear_device();  // a table needs one
  EXPECT_THAT(Why(), HasSubstr("result.layers.setting"));
}

TEST_F(LayerResultTest, RefusesOtherPointsAndTimesThatAreNone) {
  for (const double us : {0.0, -1.0, std::numeric_limits<double>::quiet_NaN(),
                          std::numeric_limits<double>::infinity()}) {
    report_.mutable_rows(1)->set_median_us(us);
    EXPECT_THAT(Why(), HasSubstr("result.layers.rows[1]"));
  }
  report_.mutable_rows(1)->set_median_us(1);
  report_.mutable_rows(1)->set_spread_us(-1);
  EXPECT_THAT(Why(), HasSubstr("result.layers.rows[1]"));
  report_.mutable_rows(1)->set_spread_us(0);
  report_.mutable_rows(0)->set_layer("conv 5x5");
  EXPECT_THAT(Why(), HasSubstr("result.layers.rows[0]: conv 5x5 4 8"));
  report_.mutable_rows(0)->set_layer("conv 3x3");
  report_.mutable_rows(0)->set_out(9);
  EXPECT_THAT(Why(), HasSubstr("is no time of conv 3x3 4 8"));
  report_.mutable_rows()->RemoveLast();
  EXPECT_THAT(Why(), HasSubstr("1 for the 2 points"));
}

TEST_F(LayerResultTest, RefusesATaskWithoutAScaleOrAResult) {
  report_.set_reference_us(0);
  EXPECT_THAT(Why(), HasSubstr("result.layers.reference_us"));
  v1::TaskResult result;
  result.mutable_measurement();
  EXPECT_THAT(std::string(CheckResult(task_, result).message()),
              HasSubstr("result.layers: missing for a task of kind TASK_KIND_MEASURE_LAYERS"));
}

}  // namespace
}  // namespace amc
