#include "storage/readers.h"

#include <utility>

namespace amc {

using sqlite::Database;
using sqlite::Transaction;

std::unique_ptr<Database> Readers::Take() {
  MutexLock lock(&mutex_);
  while (free_ == 0) freed_.Wait(&mutex_);
  --free_;
  if (idle_.empty()) return nullptr;
  std::unique_ptr<Database> database = std::move(idle_.back());
  idle_.pop_back();
  return database;
}

void Readers::GiveBack(std::unique_ptr<Database> database) {
  MutexLock lock(&mutex_);
  ++free_;
  freed_.Signal();
  if (database != nullptr) idle_.push_back(std::move(database));
}

absl::Status Readers::Run(Reading reading) {
  std::unique_ptr<Database> database = Take();
  absl::Status status = [&]() -> absl::Status {
    if (database == nullptr) {
      AMC_ASSIGN_OR_RETURN(database, Database::Open(path_, Database::Mode::kReadOnly));
    }
    AMC_ASSIGN_OR_RETURN(Transaction transaction,
                         Transaction::Begin(*database, Transaction::Kind::kRead));
    AMC_RETURN_IF_ERROR(reading(*database));
    return transaction.Commit();
  }();
  GiveBack(std::move(database));
  return status;
}

}  // namespace amc
