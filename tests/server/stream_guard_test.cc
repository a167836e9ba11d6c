// How many streams may be open; that idle ones are cancelled is tested over a socket
// (server_test.cc), as only a context of a real call can be cancelled.
#include "server/stream_guard.h"

#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace amc {
namespace {

using ::testing::HasSubstr;

class StreamGuardTest : public ::testing::Test {
 protected:
  FakeClock clock_{absl::FromUnixSeconds(1'000'000)};
  StreamGuard guard_{&clock_, 2, absl::Minutes(1)};
  grpc::ServerContext context_;
};

TEST_F(StreamGuardTest, LetsInNoMoreThanThereMayBe) {
  absl::StatusOr<StreamGuard::Stream> first = guard_.Enter(context_, "UploadArtifact");
  ASSERT_TRUE(first.ok()) << first.status();
  std::optional<StreamGuard::Stream> second = *guard_.Enter(context_, "WatchJob");
  const absl::Status refused = guard_.Enter(context_, "WatchJob").status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("2 streams are open"));
  second.reset();  // makes room for one
  const absl::StatusOr<StreamGuard::Stream> third = guard_.Enter(context_, "WatchJob");
  EXPECT_TRUE(third.ok());
  EXPECT_TRUE(absl::IsUnavailable(guard_.Enter(context_, "WatchJob").status()));
}

TEST_F(StreamGuardTest, AMovedStreamLeavesOnce) {
  std::optional<StreamGuard::Stream> outer;
  {
    StreamGuard::Stream stream = *guard_.Enter(context_, "UploadArtifact");
    outer.emplace(std::move(stream));
  }  // what was moved from goes and takes nothing with it
  outer->Moved();
  const absl::StatusOr<StreamGuard::Stream> second = guard_.Enter(context_, "UploadArtifact");
  EXPECT_TRUE(second.ok());
  EXPECT_FALSE(guard_.Enter(context_, "UploadArtifact").ok());
  outer.reset();
  EXPECT_TRUE(guard_.Enter(context_, "UploadArtifact").ok());
}

// Cancelling a context without a call would crash: that this does not is the test.
TEST_F(StreamGuardTest, LeavesThoseAloneThatMove) {
  StreamGuard::Stream stream = *guard_.Enter(context_, "UploadArtifact");
  for (int i = 0; i < 5; ++i) {
    clock_.Advance(absl::Seconds(59));
    guard_.CancelIdle();
    stream.Moved();
  }
  const absl::StatusOr<StreamGuard::Stream> later = guard_.Enter(context_, "UploadArtifact");
  clock_.Advance(absl::Seconds(59));
  guard_.CancelIdle();
}

TEST_F(StreamGuardTest, HasNothingToCancelOnceAllHaveLeft) {
  { const auto stream = guard_.Enter(context_, "UploadArtifact"); }
  clock_.Advance(absl::Hours(1));
  guard_.CancelIdle();
}

TEST_F(StreamGuardTest, ManyThreadsComeAndGo) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([this] {
      grpc::ServerContext context;
      for (int i = 0; i < 500; ++i) {
        absl::StatusOr<StreamGuard::Stream> stream = guard_.Enter(context, "UploadArtifact");
        if (stream.ok()) stream->Moved();
        guard_.CancelIdle();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const auto first = guard_.Enter(context_, "a"), second = guard_.Enter(context_, "b");
  EXPECT_TRUE(first.ok() && second.ok());  // all have left
}

}  // namespace
}  // namespace amc
