// Calls that a client can hold open: how many at once, and that each of them gets on.
//
// Every stream of gRPC's synchronous kind holds a thread. A client that sends its upload a byte an
// hour, or never reads what it asked for, would hold one for ever: here its call is cancelled.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "grpcpp/server_context.h"

namespace amc {

// Thread-safe.
class StreamGuard {
 public:
  // At most `most` streams; one that has not moved for `patience` is cancelled.
  StreamGuard(const Clock* clock, int most, absl::Duration patience)
      : clock_(clock), most_(most), patience_(patience) {}

  // One stream, from Enter to its destruction, which must come before its context's.
  class Stream {
   public:
    Stream(Stream&& other) noexcept
        : guard_(std::exchange(other.guard_, nullptr)), number_(other.number_) {}
    Stream& operator=(Stream&&) = delete;
    ~Stream();
    // Call after every message that came or went, and where the stream rightly waits.
    void Moved();

    // While it lives the stream counts as moving: it is the server that works.
    class Work {
     public:
      explicit Work(Stream* stream);
      ~Work();
      Work(const Work&) = delete;
      Work& operator=(const Work&) = delete;

     private:
      Stream* const stream_;
    };
    Work Working() { return Work(this); }

   private:
    friend class StreamGuard;
    Stream(StreamGuard* guard, int64_t number) : guard_(guard), number_(number) {}
    StreamGuard* guard_;
    int64_t number_;
  };

  // Unavailable when there are too many. `what` names the call in the log.
  absl::StatusOr<Stream> Enter(grpc::ServerContext& context, absl::string_view what);

  // Cancels those that stand still. Call a few times a minute or more often.
  void CancelIdle();

 private:
  struct Entry {
    grpc::ServerContext* context = nullptr;
    std::string what;
    absl::Time moved;
    bool working = false;
    bool cancelled = false;
  };
  void SetWorking(int64_t number, bool working);

  const Clock* const clock_;
  const int most_;
  const absl::Duration patience_;
  Mutex mutex_;
  int64_t last_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<int64_t, Entry> streams_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace amc
