#include "storage/writer.h"

#include <utility>

namespace amc {

using sqlite::Database;
using sqlite::Transaction;

Writer::Writer(std::unique_ptr<Database> database)
    : database_(std::move(database)), thread_([this] { Loop(); }) {}

Writer::~Writer() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    has_work_.Signal();
  }
  thread_.join();
}

absl::Status Writer::Run(Change change) {
  Request request{change};
  MutexLock lock(&mutex_);
  queue_.push_back(&request);
  has_work_.Signal();
  while (!request.done) request.ended.Wait(&mutex_);
  return request.status;
}

void Writer::Loop() {
  for (;;) {
    std::vector<Request*> batch;
    {
      MutexLock lock(&mutex_);
      while (queue_.empty() && !stopping_) has_work_.Wait(&mutex_);
      if (queue_.empty()) return;
      batch.swap(queue_);
    }
    Execute(batch);
    // Signalled under the lock: once its caller has it, the request is gone.
    MutexLock lock(&mutex_);
    for (Request* request : batch) {
      request->done = true;
      request->ended.Signal();
    }
  }
}

void Writer::Execute(absl::Span<Request* const> batch) {
  if (batch.size() > 1 && ExecuteTogether(batch).ok()) return;
  for (Request* request : batch) request->status = ExecuteAlone(*request);
}

absl::Status Writer::ExecuteAlone(Request& request) {
  AMC_ASSIGN_OR_RETURN(Transaction transaction,
                       Transaction::Begin(*database_, Transaction::Kind::kWrite));
  AMC_RETURN_IF_ERROR(request.change(*database_));
  return transaction.Commit();
}

absl::Status Writer::ExecuteTogether(absl::Span<Request* const> batch) {
  AMC_ASSIGN_OR_RETURN(Transaction transaction,
                       Transaction::Begin(*database_, Transaction::Kind::kWrite));
  for (Request* request : batch) {
    AMC_RETURN_IF_ERROR(database_->Run("SAVEPOINT change").status());
    request->status = request->change(*database_);
    // Some errors make sqlite3 roll the whole transaction back.
    if (!database_->InTransaction()) return absl::AbortedError("rolled back");
    if (!request->status.ok()) {
      AMC_RETURN_IF_ERROR(database_->Run("ROLLBACK TO change").status());
    }
    AMC_RETURN_IF_ERROR(database_->Run("RELEASE change").status());
  }
  return transaction.Commit();
}

}  // namespace amc
