#include "storage/writer.h"

#include <utility>

namespace amc {

using sqlite::Database;
using sqlite::Transaction;

Writer::Writer(std::unique_ptr<Database> database)
    : database_(std::move(database)), thread_([this] { Loop(); }) {}

Writer::~Writer() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  thread_.join();
}

absl::Status Writer::Run(Change change) {
  Request request{change, absl::OkStatus()};
  absl::MutexLock lock(&mutex_);
  queue_.push_back(&request);
  mutex_.Await(absl::Condition(&request.done));
  return request.status;
}

void Writer::Loop() {
  for (;;) {
    std::vector<Request*> batch;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(this, &Writer::HasWork));
      if (queue_.empty()) return;
      batch.swap(queue_);
    }
    Execute(batch);
    absl::MutexLock lock(&mutex_);
    for (Request* request : batch) request->done = true;
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
