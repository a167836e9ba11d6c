// The half that agents share which learn nothing from rewards: all they remember is how far they
// are.
#pragma once

#include <string>
#include <utility>

#include "agent/agent.h"
#include "agent/agent_state.h"
#include "base/bytes.h"
#include "base/status_macros.h"

namespace amc {

class MemorylessAgent : public Agent {
 public:
  absl::Status Learn(const Episode& episode, double reward) override {
    AMC_RETURN_IF_ERROR(progress_.CheckNext(episode.number, reward));
    progress_.Advance();
    return absl::OkStatus();
  }

  absl::Status Skip(const Episode& episode) override {
    AMC_RETURN_IF_ERROR(progress_.CheckNext(episode.number));
    progress_.Advance();
    return absl::OkStatus();
  }

  std::string SaveState() const override {
    ByteWriter writer;
    progress_.Save(writer);
    return std::move(writer).bytes();
  }

  absl::Status RestoreState(absl::string_view bytes) override {
    ByteReader reader(bytes);
    AMC_ASSIGN_OR_RETURN(const int64_t done, progress_.Read(reader));
    AMC_RETURN_IF_ERROR(reader.Finish());
    progress_.set_done(done);
    return absl::OkStatus();
  }

 protected:
  explicit MemorylessAgent(AgentProgress progress) : progress_(std::move(progress)) {}

  AgentProgress progress_;
};

}  // namespace amc
