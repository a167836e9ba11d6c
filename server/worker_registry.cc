#include "server/worker_registry.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "server/rpc/channel.h"
#include "server/rpc/random_hex.h"
#include "server/rpc/status_convert.h"

namespace amc {
namespace {

// A session is a capability: whoever knows it acts as the worker.
std::string NewSession() { return RandomHex(32); }

// A lost worker that comes back within this time keeps its session.
constexpr absl::Duration kForgetAfter = absl::Hours(1);

}  // namespace

absl::StatusOr<std::string> WorkerRegistry::Register(const v1::RegisterWorkerRequest& request) {
  const std::string& uuid = request.uuid();
  const v1::WorkerCapabilities& capabilities = request.capabilities();
  if (uuid.empty() || uuid.size() > 128) {
    return FieldError("uuid", absl::StrCat("has ", uuid.size(), " characters, not 1 to 128"));
  }
  if (IsSha256Hex(uuid) && Sha256Hex(request.secret()) != uuid) {
    return absl::PermissionDeniedError(
        absl::StrCat("worker ", uuid, ": the secret is not the one that its uuid is made of"));
  }
  if (capabilities.version() != Version()) {
    return absl::FailedPreconditionError(
        absl::StrCat("worker ", uuid, " on ", capabilities.hostname(), " is of version ",
                     capabilities.version(), ", the server of ", Version()));
  }
  Member member{.worker = v1::Worker(), .session = NewSession()};
  member.worker.set_uuid(uuid);
  *member.worker.mutable_capabilities() = capabilities;
  member.worker.set_state(v1::WORKER_STATE_IDLE);
  member.worker.set_last_seen_ms(absl::ToUnixMillis(clock_->Now()));
  member.worker.set_register_time_ms(member.worker.last_seen_ms());
  {
    MutexLock lock(&mutex_);
    const auto older = members_.find(uuid);
    if (older != members_.end()) {
      sessions_.erase(older->second.session);
      member.worker.set_completed(older->second.worker.completed());
      member.draining = older->second.draining;
    }
    sessions_[member.session] = uuid;
    members_[uuid] = member;
  }
  AMC_RETURN_IF_ERROR(store_->PutWorker(member.worker));
  AMC_LOG(kInfo) << "worker " << uuid << " on " << capabilities.hostname()
                 << " registered: " << capabilities.platform_id() << ", " << capabilities.threads()
                 << " threads";
  return member.session;
}

v1::Worker WorkerRegistry::Describe(const Member& member) {
  v1::Worker worker = member.worker;
  if (member.draining && worker.state() == v1::WORKER_STATE_IDLE) {
    worker.set_state(v1::WORKER_STATE_DRAINING);
  }
  return worker;
}

absl::StatusOr<WorkerRegistry::Member*> WorkerRegistry::Hear(const std::string& session) {
  const auto found = sessions_.find(session);
  if (found == sessions_.end()) {
    return absl::UnauthenticatedError("unknown or replaced session: register again");
  }
  Member& member = members_.at(found->second);
  member.worker.set_last_seen_ms(absl::ToUnixMillis(clock_->Now()));
  member.worker.set_state(v1::WORKER_STATE_IDLE);
  return &member;
}

absl::StatusOr<WorkerRegistry::Caller> WorkerRegistry::Find(const std::string& session) {
  MutexLock lock(&mutex_);
  AMC_ASSIGN_OR_RETURN(const Member* const member, Hear(session));
  const v1::Worker& worker = member->worker;
  return Caller{.view = {.uuid = worker.uuid(), .capabilities = worker.capabilities()},
                .draining = member->draining};
}

absl::StatusOr<WorkerRegistry::Caller> WorkerRegistry::Beat(const std::string& session,
                                                            const v1::TaskProgress* progress) {
  MutexLock lock(&mutex_);
  AMC_ASSIGN_OR_RETURN(Member* const member, Hear(session));
  v1::Worker& worker = member->worker;
  if (progress != nullptr) {
    *worker.mutable_progress() = *progress;
  } else {
    worker.clear_progress();
  }
  return Caller{.view = {.uuid = worker.uuid(), .capabilities = worker.capabilities()},
                .draining = member->draining};
}

absl::StatusOr<std::string> WorkerRegistry::Leave(const std::string& session, v1::WorkerState state,
                                                  const std::string& message) {
  v1::Worker worker;
  {
    MutexLock lock(&mutex_);
    const auto found = sessions_.find(session);
    if (found == sessions_.end()) {
      return absl::UnauthenticatedError("unknown or replaced session");
    }
    const auto member = members_.find(found->second);
    worker = member->second.worker;
    members_.erase(member);
    sessions_.erase(found);
  }
  worker.set_state(state);
  worker.set_message(message);
  worker.clear_progress();
  worker.set_last_seen_ms(absl::ToUnixMillis(clock_->Now()));
  const absl::Status stored = store_->PutWorker(worker);
  if (!stored.ok()) {  // its leases must go back even so
    AMC_LOG(kWarning) << "worker " << worker.uuid() << ": " << stored;
  }
  return worker.uuid();
}

absl::StatusOr<std::string> WorkerRegistry::Unregister(const std::string& session) {
  AMC_ASSIGN_OR_RETURN(std::string uuid, Leave(session, v1::WORKER_STATE_GONE, ""));
  AMC_LOG(kInfo) << "worker " << uuid << " said goodbye";
  return uuid;
}

absl::StatusOr<std::string> WorkerRegistry::Crash(const std::string& session,
                                                  const std::string& message) {
  AMC_ASSIGN_OR_RETURN(std::string uuid, Leave(session, v1::WORKER_STATE_CRASHED, message));
  AMC_LOG(kWarning) << "worker " << uuid << " crashed: " << message;
  return uuid;
}

absl::StatusOr<std::vector<std::string>> WorkerRegistry::Drain(
    const v1::DrainWorkersRequest& request) {
  std::vector<std::string> uuids(request.uuids().begin(), request.uuids().end());
  MutexLock lock(&mutex_);
  const auto is_there = [this](const std::string& uuid) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const auto member = members_.find(uuid);
    return member != members_.end() && member->second.worker.state() != v1::WORKER_STATE_LOST;
  };
  for (const std::string& uuid : uuids) {
    if (!is_there(uuid)) return absl::NotFoundError(absl::StrCat("no worker ", uuid, " is there"));
  }
  if (request.all()) {
    uuids.clear();
    for (const auto& [uuid, member] : members_) {
      if (is_there(uuid)) uuids.push_back(uuid);
    }
  }
  for (const std::string& uuid : uuids) {
    members_.at(uuid).draining = true;
    AMC_LOG(kInfo) << "worker " << uuid << " is asked to leave";
  }
  return uuids;
}

void WorkerRegistry::CountCompleted(const std::string& uuid) {
  completions_.Count(clock_->Now());
  MutexLock lock(&mutex_);
  const auto member = members_.find(uuid);
  if (member == members_.end()) return;
  member->second.worker.set_completed(member->second.worker.completed() + 1);
}

std::vector<std::string> WorkerRegistry::MarkLost() {
  const absl::Time now = clock_->Now();
  const int64_t oldest = absl::ToUnixMillis(now - lost_after_);
  const int64_t long_lost = absl::ToUnixMillis(now - lost_after_ - kForgetAfter);
  std::vector<v1::Worker> lost;
  std::vector<std::string> forgotten;
  {
    MutexLock lock(&mutex_);
    for (auto member = members_.begin(); member != members_.end();) {
      v1::Worker& worker = member->second.worker;
      if (worker.last_seen_ms() <= long_lost) {
        forgotten.push_back(member->first);
        sessions_.erase(member->second.session);
        member = members_.erase(member);
        continue;
      }
      if (worker.state() != v1::WORKER_STATE_LOST && worker.last_seen_ms() <= oldest) {
        worker.set_state(v1::WORKER_STATE_LOST);
        worker.clear_progress();
        lost.push_back(worker);
      }
      ++member;
    }
  }
  for (const v1::Worker& worker : lost) {
    AMC_LOG(kWarning) << "worker " << worker.uuid() << " on " << worker.capabilities().hostname()
                      << " is lost";
    const absl::Status status = store_->PutWorker(worker);
    if (!status.ok()) AMC_LOG(kWarning) << "worker " << worker.uuid() << ": " << status;
  }
  return forgotten;
}

std::vector<WorkerView> WorkerRegistry::Present() const {
  std::vector<WorkerView> present;
  for (v1::Worker& worker : PresentWorkers()) {
    present.push_back(
        {.uuid = worker.uuid(), .capabilities = std::move(*worker.mutable_capabilities())});
  }
  return present;
}

std::vector<v1::Worker> WorkerRegistry::PresentWorkers() const {
  std::vector<v1::Worker> present;
  MutexLock lock(&mutex_);
  for (const auto& [uuid, member] : members_) {
    if (member.worker.state() != v1::WORKER_STATE_LOST) present.push_back(Describe(member));
  }
  return present;
}

int64_t WorkerRegistry::present() const {
  MutexLock lock(&mutex_);
  return std::count_if(members_.begin(), members_.end(), [](const auto& member) {
    return member.second.worker.state() != v1::WORKER_STATE_LOST;
  });
}

void WorkerRegistry::Refresh(v1::Worker& worker) const {
  MutexLock lock(&mutex_);
  const auto member = members_.find(worker.uuid());
  if (member != members_.end()) {
    worker = Describe(member->second);
  } else if (worker.state() != v1::WORKER_STATE_GONE &&
             worker.state() != v1::WORKER_STATE_CRASHED) {
    worker.set_state(v1::WORKER_STATE_LOST);  // of an earlier life of the server
  }
}

}  // namespace amc
