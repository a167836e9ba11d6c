#include "storage/sqlite.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/log.h"

namespace amc::sqlite {
namespace {

constexpr int kBusyTimeoutMs = 5000;
// Statements kept prepared per connection; the texts of a store are fewer, but for those of
// filters.
constexpr size_t kMaxIdleStatements = 256;

absl::Status ToStatus(int code, int system_error, absl::string_view path, const char* message) {
  const std::string text = absl::StrCat("database ", path, ": ", message);
  // A file that may not grow (quota, file size limit) is a full disk by another name.
  const bool full = system_error == ENOSPC || system_error == EDQUOT || system_error == EFBIG;
  switch (code & 0xff) {
    case SQLITE_FULL:
      return absl::ResourceExhaustedError(
          absl::StrCat(text, "; nothing was changed, free space on its file system"));
    case SQLITE_IOERR:
      if (full) {
        return absl::ResourceExhaustedError(
            absl::StrCat(text, " (no space left); free space on its file system"));
      }
      return absl::InternalError(absl::StrCat(text, " (errno ", system_error, ")"));
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return absl::UnavailableError(text);
    case SQLITE_CORRUPT:
      return absl::DataLossError(absl::StrCat(text, "; restore it from a backup"));
    case SQLITE_NOTADB:
      return absl::DataLossError(absl::StrCat(text, "; restore it, or choose another path"));
    case SQLITE_INTERRUPT:
      return absl::CancelledError(text);
    case SQLITE_NOMEM:
      return absl::ResourceExhaustedError(text);
    case SQLITE_CANTOPEN:
      if (system_error == ENOENT) return absl::NotFoundError(text);
      if (full) return absl::ResourceExhaustedError(absl::StrCat(text, " (no space left)"));
      return absl::PermissionDeniedError(text);
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
      return absl::PermissionDeniedError(text);
    case SQLITE_TOOBIG:
      return absl::InvalidArgumentError(text);
    case SQLITE_CONSTRAINT:
      if (code == SQLITE_CONSTRAINT_UNIQUE || code == SQLITE_CONSTRAINT_PRIMARYKEY) {
        return absl::AlreadyExistsError(text);
      }
      return absl::InternalError(text);
    default:
      return absl::InternalError(text);
  }
}

absl::Status SyncFile(const std::string& path) {
  const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) return ErrnoToStatus(errno, "cannot open", path);
  const int error = fsync(fd) == 0 ? 0 : errno;
  close(fd);
  return error == 0 ? absl::OkStatus() : ErrnoToStatus(error, "cannot sync", path);
}

std::string FolderOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

Statement::Statement(Statement&& other) noexcept
    : database_(other.database_), statement_(std::exchange(other.statement_, nullptr)) {}

Statement::~Statement() {
  if (statement_ != nullptr) database_->Return(statement_);
}

absl::StatusOr<bool> Statement::Step() {
  errno = 0;
  switch (sqlite3_step(statement_)) {
    case SQLITE_ROW:
      return true;
    case SQLITE_DONE:
      return false;
    default:
      return database_->LastError();
  }
}

bool Statement::IsNull(int column) const {
  return sqlite3_column_type(statement_, column) == SQLITE_NULL;
}
int64_t Statement::Int(int column) const { return sqlite3_column_int64(statement_, column); }
double Statement::Real(int column) const { return sqlite3_column_double(statement_, column); }
Number Statement::Value(int column) const {
  if (sqlite3_column_type(statement_, column) == SQLITE_FLOAT) return Real(column);
  return Int(column);
}
absl::string_view Statement::Bytes(int column) const {
  // The pointer first: it may convert the value, which changes the size.
  const void* bytes = sqlite3_column_blob(statement_, column);
  const int size = sqlite3_column_bytes(statement_, column);
  return absl::string_view(static_cast<const char*>(bytes), static_cast<size_t>(size));
}

int Statement::Bind(int index, absl::string_view text) {
  // sqlite3 takes a null pointer for NULL; an empty view may have one.
  return sqlite3_bind_text64(statement_, index, text.empty() ? "" : text.data(), text.size(),
                             SQLITE_TRANSIENT, SQLITE_UTF8);
}
int Statement::Bind(int index, Blob blob) {
  return sqlite3_bind_blob64(statement_, index, blob.bytes.empty() ? "" : blob.bytes.data(),
                             blob.bytes.size(), SQLITE_TRANSIENT);
}
int Statement::Bind(int index, Number number) {
  return std::visit([&](auto value) { return Bind(index, value); }, number);
}
int Statement::BindInt(int index, int64_t value) {
  return sqlite3_bind_int64(statement_, index, value);
}
int Statement::BindReal(int index, double value) {
  return sqlite3_bind_double(statement_, index, value);
}

absl::StatusOr<std::unique_ptr<Database>> Database::Open(const std::string& path, Mode mode) {
  sqlite3* handle = nullptr;
  const int flags =
      SQLITE_OPEN_NOMUTEX |
      (mode == Mode::kReadOnly ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
  const int code = sqlite3_open_v2(path.c_str(), &handle, flags, nullptr);
  // Even a failed open gives a handle, which knows the reason and wants closing.
  if (handle == nullptr) return ToStatus(SQLITE_NOMEM, 0, path, "out of memory");
  std::unique_ptr<Database> database(new Database(handle, path));
  if (code != SQLITE_OK) return database->LastError();
  AMC_RETURN_IF_ERROR(database->Configure(mode));
  return database;
}

Database::~Database() {
  for (auto& [sql, statements] : idle_) {
    for (sqlite3_stmt* statement : statements) sqlite3_finalize(statement);
  }
  // Fails only while statements are out, and those must not outlive this.
  AMC_CHECK(sqlite3_close(handle_) == SQLITE_OK) << path_;
}

absl::Status Database::Configure(Mode mode) {
  sqlite3_extended_result_codes(handle_, 1);
  sqlite3_busy_timeout(handle_, kBusyTimeoutMs);
  AMC_RETURN_IF_ERROR(Execute("PRAGMA foreign_keys = ON"));
  if (mode == Mode::kReadOnly) return absl::OkStatus();
  {
    AMC_ASSIGN_OR_RETURN(Statement row, Query("PRAGMA journal_mode = WAL"));
    AMC_ASSIGN_OR_RETURN(const bool found, row.Step());
    if (!found || row.Text(0) != "wal") {
      return absl::FailedPreconditionError(
          absl::StrCat("database ", path_, ": its file system cannot keep a write-ahead log"));
    }
  }
  // A search's state is a few megabytes per commit: checkpoint every 16 MB, not every 4.
  return Execute(
      "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 4000; "
      "PRAGMA journal_size_limit = 67108864");
}

absl::Status Database::Execute(const std::string& sql) {
  return sqlite3_exec(handle_, sql.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK
             ? absl::OkStatus()
             : LastError();
}

absl::StatusOr<Statement> Database::Prepare(const std::string& sql) {
  const auto found = idle_.find(sql);
  if (found != idle_.end() && !found->second.empty()) {
    sqlite3_stmt* statement = found->second.back();
    found->second.pop_back();
    --idle_count_;
    return Statement(this, statement);
  }
  sqlite3_stmt* statement = nullptr;
  const int code = sqlite3_prepare_v3(handle_, sql.c_str(), static_cast<int>(sql.size()) + 1,
                                      SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
  if (code != SQLITE_OK) return LastError();
  return Statement(this, statement);
}

absl::StatusOr<Statement> Database::QueryNumbers(const std::string& sql,
                                                 absl::Span<const Number> values) {
  AMC_ASSIGN_OR_RETURN(Statement statement, Prepare(sql));
  int index = 0;
  for (const Number& value : values) {
    const int code = statement.Bind(++index, value);
    if (code != SQLITE_OK) return BindFailed(index, code, sql);
  }
  return statement;
}

absl::StatusOr<int64_t> Database::RunToEnd(Statement statement) {
  for (;;) {
    AMC_ASSIGN_OR_RETURN(const bool row, statement.Step());
    if (!row) return sqlite3_changes64(handle_);
  }
}

absl::StatusOr<int64_t> Database::QueryInt(const std::string& sql) {
  AMC_ASSIGN_OR_RETURN(Statement row, Query(sql));
  AMC_ASSIGN_OR_RETURN(const bool found, row.Step());
  if (!found) return absl::InternalError(absl::StrCat("database ", path_, ": no row from ", sql));
  return row.Int(0);
}

bool Database::InTransaction() const { return sqlite3_get_autocommit(handle_) == 0; }

void Database::Return(sqlite3_stmt* statement) {
  sqlite3_reset(statement);
  sqlite3_clear_bindings(statement);
  if (idle_count_ >= kMaxIdleStatements) {
    sqlite3_finalize(statement);
    return;
  }
  idle_[sqlite3_sql(statement)].push_back(statement);
  ++idle_count_;
}

absl::Status Database::LastError() const {
  // sqlite3 forgets the system's reason where a commit fails; errno still has it.
  const int last = errno, kept = sqlite3_system_errno(handle_);
  return ToStatus(sqlite3_extended_errcode(handle_), kept != 0 ? kept : last, path_,
                  sqlite3_errmsg(handle_));
}

absl::Status Database::BindFailed(int index, int code, const std::string& sql) {
  return Annotate(ToStatus(code, 0, path_, sqlite3_errstr(code)),
                  absl::StrCat("parameter ", index, " of ", sql));
}

absl::Status Database::DefineFunction(const char* name, int64_t (*function)(double)) {
  const auto call = [](sqlite3_context* context, int, sqlite3_value** values) {
    const auto called = reinterpret_cast<int64_t (*)(double)>(sqlite3_user_data(context));
    sqlite3_result_int64(context, called(sqlite3_value_double(values[0])));
  };
  const int code = sqlite3_create_function_v2(
      handle_, name, 1, SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_DIRECTONLY,
      reinterpret_cast<void*>(function), call, nullptr, nullptr, nullptr);
  return code == SQLITE_OK ? absl::OkStatus() : LastError();
}

absl::Status Database::BackupTo(const std::string& path) {
  const std::string part = path + ".part";
  unlink(part.c_str());
  sqlite3* target = nullptr;
  int code =
      sqlite3_open_v2(part.c_str(), &target, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, nullptr);
  if (target == nullptr) return ToStatus(SQLITE_NOMEM, 0, part, "out of memory");
  absl::Status status;
  if (code != SQLITE_OK) {
    status = ToStatus(code, sqlite3_system_errno(target), part, sqlite3_errmsg(target));
  } else {
    sqlite3_backup* backup = sqlite3_backup_init(target, "main", handle_, "main");
    if (backup != nullptr) {
      sqlite3_backup_step(backup, -1);
      sqlite3_backup_finish(backup);  // leaves the code of a failed step in `target`
    }
    code = sqlite3_extended_errcode(target);
    if (code != SQLITE_OK) {
      status = ToStatus(code, sqlite3_system_errno(target), part, sqlite3_errmsg(target));
    }
  }
  sqlite3_close(target);
  if (status.ok()) status = SyncFile(part);
  if (status.ok() && rename(part.c_str(), path.c_str()) != 0) {
    status = ErrnoToStatus(errno, "cannot rename", part);
  }
  if (!status.ok()) {
    unlink(part.c_str());
    return status;
  }
  return SyncFolder(FolderOf(path));
}

WorkLimit::WorkLimit(Database& database, int64_t operations)
    : database_(database), left_(operations) {
  constexpr int kInterval = 1000;
  sqlite3_progress_handler(
      database_.handle_, kInterval,
      [](void* left) -> int { return (*static_cast<int64_t*>(left) -= kInterval) < 0; }, &left_);
}

WorkLimit::~WorkLimit() { sqlite3_progress_handler(database_.handle_, 0, nullptr, nullptr); }

absl::StatusOr<Transaction> Transaction::Begin(Database& database, Kind kind) {
  AMC_ASSIGN_OR_RETURN(Statement begin,
                       database.Query(kind == Kind::kWrite ? "BEGIN IMMEDIATE" : "BEGIN"));
  AMC_RETURN_IF_ERROR(begin.Step().status());
  return Transaction(&database);
}

Transaction::~Transaction() {
  if (database_ == nullptr || !database_->InTransaction()) return;
  const absl::Status status = database_->Execute("ROLLBACK");
  if (!status.ok()) AMC_LOG(kError) << "rollback: " << status;
}

absl::Status Transaction::Commit() {
  AMC_RETURN_IF_ERROR(database_->Run("COMMIT").status());
  database_ = nullptr;
  return absl::OkStatus();
}

}  // namespace amc::sqlite
