#include "storage/migrations.h"

#include "absl/strings/str_cat.h"
#include "base/log.h"

namespace amc {
namespace {

using sqlite::Database;
using sqlite::Statement;
using sqlite::Transaction;

// Tells an empty file and one of ours from a stranger's.
absl::Status CheckOwner(Database& database) {
  AMC_ASSIGN_OR_RETURN(const int64_t application, database.QueryInt("PRAGMA application_id"));
  if (application == kApplicationId) return absl::OkStatus();
  AMC_ASSIGN_OR_RETURN(const int64_t objects,
                       database.QueryInt("SELECT count(*) FROM sqlite_master"));
  if (application == 0 && objects == 0) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("database ", database.path(),
                                                    " belongs to another program: application_id ",
                                                    application, ", not ", kApplicationId));
}

absl::Status CheckForeignKeys(Database& database) {
  AMC_ASSIGN_OR_RETURN(Statement row, database.Query("PRAGMA foreign_key_check"));
  AMC_ASSIGN_OR_RETURN(const bool broken, row.Step());
  if (!broken) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("database ", database.path(), ": row ", row.Int(1),
                                          " of table ", row.Text(0), " refers to none of table ",
                                          row.Text(2)));
}

absl::Status RunSteps(Database& database, absl::Span<const Migration> migrations, int64_t from) {
  AMC_ASSIGN_OR_RETURN(Transaction transaction,
                       Transaction::Begin(database, Transaction::Kind::kWrite));
  for (size_t step = static_cast<size_t>(from); step < migrations.size(); ++step) {
    AMC_RETURN_IF_ERROR(Annotate(database.Execute(migrations[step]),
                                 absl::StrCat("migration to version ", step + 1)));
  }
  AMC_RETURN_IF_ERROR(CheckForeignKeys(database));
  AMC_RETURN_IF_ERROR(database.Execute(absl::StrCat(
      "PRAGMA application_id = ", kApplicationId, "; PRAGMA user_version = ", migrations.size())));
  return transaction.Commit();
}

}  // namespace

absl::Status Migrate(Database& database, absl::Span<const Migration> migrations) {
  AMC_RETURN_IF_ERROR(CheckOwner(database));
  AMC_ASSIGN_OR_RETURN(const int64_t version, database.QueryInt("PRAGMA user_version"));
  const int64_t newest = static_cast<int64_t>(migrations.size());
  if (version == newest) return absl::OkStatus();
  if (version > newest || version < 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("database ", database.path(), " has version ", version,
                     ", this program knows versions up to ", newest, ": use a newer program"));
  }
  if (version > 0) {
    const std::string copy = absl::StrCat(database.path(), ".v", version, ".bak");
    AMC_RETURN_IF_ERROR(
        Annotate(database.BackupTo(copy), absl::StrCat("copy before migrating to ", copy)));
    AMC_LOG(kInfo) << "database " << database.path() << ": version " << version << " to " << newest
                   << ", the old one is kept as " << copy;
  }
  AMC_RETURN_IF_ERROR(database.Execute("PRAGMA foreign_keys = OFF"));
  absl::Status status = RunSteps(database, migrations, version);
  AMC_RETURN_IF_ERROR(database.Execute("PRAGMA foreign_keys = ON"));
  return status;
}

}  // namespace amc
