#include "server/worker_registry.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "server/rpc/channel.h"
#include "server/rpc/random_hex.h"
#include "server/rpc/status_convert.h"

namespace amc {
namespace {

// A session is a capability: whoever knows it acts as the worker.
std::string NewSession() { return RandomHex(32); }

}  // namespace

absl::StatusOr<std::string> WorkerRegistry::Register(const v1::RegisterWorkerRequest& request) {
  const std::string& uuid = request.uuid();
  const v1::WorkerCapabilities& capabilities = request.capabilities();
  if (uuid.empty() || uuid.size() > 128) {
    return FieldError("uuid", absl::StrCat("has ", uuid.size(), " characters, not 1 to 128"));
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
  {
    MutexLock lock(&mutex_);
    const auto older = members_.find(uuid);
    if (older != members_.end()) {
      sessions_.erase(older->second.session);
      member.worker.set_completed(older->second.worker.completed());
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

absl::StatusOr<WorkerView> WorkerRegistry::Find(const std::string& session) {
  MutexLock lock(&mutex_);
  const auto found = sessions_.find(session);
  if (found == sessions_.end()) {
    return absl::UnauthenticatedError("unknown or replaced session: register again");
  }
  v1::Worker& worker = members_.at(found->second).worker;
  worker.set_last_seen_ms(absl::ToUnixMillis(clock_->Now()));
  worker.set_state(v1::WORKER_STATE_IDLE);
  return WorkerView{.uuid = worker.uuid(), .capabilities = worker.capabilities()};
}

absl::StatusOr<std::string> WorkerRegistry::Unregister(const std::string& session) {
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
  worker.set_state(v1::WORKER_STATE_GONE);
  worker.set_last_seen_ms(absl::ToUnixMillis(clock_->Now()));
  AMC_RETURN_IF_ERROR(store_->PutWorker(worker));
  AMC_LOG(kInfo) << "worker " << worker.uuid() << " said goodbye";
  return worker.uuid();
}

void WorkerRegistry::CountCompleted(const std::string& uuid) {
  MutexLock lock(&mutex_);
  const auto member = members_.find(uuid);
  if (member == members_.end()) return;
  member->second.worker.set_completed(member->second.worker.completed() + 1);
}

void WorkerRegistry::MarkLost() {
  const int64_t oldest = absl::ToUnixMillis(clock_->Now() - lost_after_);
  std::vector<v1::Worker> lost;
  {
    MutexLock lock(&mutex_);
    for (auto& [uuid, member] : members_) {
      v1::Worker& worker = member.worker;
      if (worker.state() == v1::WORKER_STATE_LOST || worker.last_seen_ms() > oldest) continue;
      worker.set_state(v1::WORKER_STATE_LOST);
      lost.push_back(worker);
    }
  }
  for (const v1::Worker& worker : lost) {
    AMC_LOG(kWarning) << "worker " << worker.uuid() << " on " << worker.capabilities().hostname()
                      << " is lost";
    const absl::Status status = store_->PutWorker(worker);
    if (!status.ok()) AMC_LOG(kWarning) << "worker " << worker.uuid() << ": " << status;
  }
}

std::vector<WorkerView> WorkerRegistry::Present() const {
  std::vector<WorkerView> present;
  MutexLock lock(&mutex_);
  for (const auto& [uuid, member] : members_) {
    if (member.worker.state() == v1::WORKER_STATE_LOST) continue;
    present.push_back({.uuid = uuid, .capabilities = member.worker.capabilities()});
  }
  return present;
}

void WorkerRegistry::Refresh(v1::Worker& worker) const {
  MutexLock lock(&mutex_);
  const auto member = members_.find(worker.uuid());
  if (member != members_.end()) {
    worker = member->second.worker;
  } else if (worker.state() != v1::WORKER_STATE_GONE) {
    worker.set_state(v1::WORKER_STATE_LOST);  // of an earlier life of the server
  }
}

}  // namespace amc
