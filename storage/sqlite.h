// sqlite3 with ownership, typed values and absl::Status.
//
//   AMC_ASSIGN_OR_RETURN(Statement row, db.Query("SELECT a, b FROM t WHERE c = ?", 7));
//   AMC_ASSIGN_OR_RETURN(bool found, row.Step());
//   if (found) Use(row.Int(0), row.Text(1));
//
// Codes: ResourceExhausted when the disk is full, Unavailable when another connection holds the
// lock past the busy timeout, DataLoss for a damaged file or one that is no database, AlreadyExists
// for a violated uniqueness, PermissionDenied, NotFound; Internal for the rest. Every message names
// the database's path. A connection and its statements belong to one thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/status_macros.h"

struct sqlite3;
struct sqlite3_stmt;

namespace amc::sqlite {

class Database;

// A value of a query whose text, and with it the number of parameters, is made at run time.
using Number = std::variant<int64_t, double>;

// A value bound as BLOB; strings are bound as TEXT.
struct Blob {
  absl::string_view bytes;
};

// A prepared statement with its values bound. Goes back to its database's cache on destruction, and
// must not outlive the database.
class Statement {
 public:
  Statement(Statement&& other) noexcept;
  Statement& operator=(Statement&&) = delete;
  ~Statement();

  // Goes to the next row; false when there is none.
  absl::StatusOr<bool> Step();

  // Columns of the present row, counted from 0. Bytes stay valid until the next Step.
  bool IsNull(int column) const;
  int64_t Int(int column) const;
  double Real(int column) const;
  Number Value(int column) const;  // of a column that holds numbers
  absl::string_view Bytes(int column) const;
  std::string Text(int column) const { return std::string(Bytes(column)); }

 private:
  friend class Database;
  Statement(Database* database, sqlite3_stmt* statement)
      : database_(database), statement_(statement) {}

  // Binds the value of parameter `index` (from 1). Returns sqlite3's code.
  int Bind(int index, absl::string_view text);
  int Bind(int index, Blob blob);
  int Bind(int index, Number number);
  template <typename T>
  requires std::is_arithmetic_v<T>
  int Bind(int index, T value) {
    if constexpr (std::is_floating_point_v<T>) return BindReal(index, value);
    return BindInt(index, static_cast<int64_t>(value));
  }
  int BindInt(int index, int64_t value);
  int BindReal(int index, double value);

  Database* database_;
  sqlite3_stmt* statement_;
};

class Database {
 public:
  enum class Mode { kCreate, kReadOnly };

  // Opens `path` with a busy timeout of five seconds and foreign keys on. kCreate makes the file
  // where there is none and turns WAL and synchronous FULL on; kReadOnly needs a file.
  static absl::StatusOr<std::unique_ptr<Database>> Open(const std::string& path, Mode mode);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  const std::string& path() const { return path_; }

  // Runs any number of statements without parameters; drops what they return.
  absl::Status Execute(const std::string& sql);

  // Prepares one statement, or takes it from the cache, and binds `values` to its question marks.
  template <typename... Values>
  absl::StatusOr<Statement> Query(const std::string& sql, const Values&... values);

  absl::StatusOr<Statement> QueryNumbers(const std::string& sql, absl::Span<const Number> values);

  // Query for a statement that returns no rows. Returns how many rows it changed.
  template <typename... Values>
  absl::StatusOr<int64_t> Run(const std::string& sql, const Values&... values);

  // A query's one number, such as SELECT count(*); Internal if it returns no row.
  absl::StatusOr<int64_t> QueryInt(const std::string& sql);

  // False outside a transaction; also after an error that made sqlite3 roll it back.
  bool InTransaction() const;

  // Makes a function of one number known to this connection's SQL.
  absl::Status DefineFunction(const char* name, int64_t (*function)(double));

  // Writes a whole and consistent copy, synced and renamed to `path` when it is complete.
  absl::Status BackupTo(const std::string& path);

 private:
  friend class Statement;
  friend class WorkLimit;
  Database(sqlite3* handle, std::string path) : handle_(handle), path_(std::move(path)) {}

  absl::Status Configure(Mode mode);
  absl::StatusOr<Statement> Prepare(const std::string& sql);
  absl::Status BindFailed(int index, int code, const std::string& sql);
  absl::Status LastError() const;
  absl::StatusOr<int64_t> RunToEnd(Statement statement);
  // Takes back a statement that is no longer used.
  void Return(sqlite3_stmt* statement);

  sqlite3* handle_;
  std::string path_;
  std::unordered_map<std::string, std::vector<sqlite3_stmt*>> idle_;  // by text
  size_t idle_count_ = 0;
};

// While it lives, its database's queries stop with Cancelled once they have used up, together,
// about `operations` instructions of sqlite3's virtual machine (some ten per row). For reads only:
// a change that stops takes its transaction with it.
class WorkLimit {
 public:
  WorkLimit(Database& database, int64_t operations);
  ~WorkLimit();
  WorkLimit(const WorkLimit&) = delete;
  WorkLimit& operator=(const WorkLimit&) = delete;

 private:
  Database& database_;
  int64_t left_;
};

// BEGIN ... COMMIT; rolled back on destruction unless Commit succeeded.
class Transaction {
 public:
  // kWrite takes the write lock at once, so that no later statement finds it taken; kRead fixes
  // what its statements see at the first of them.
  enum class Kind { kRead, kWrite };
  static absl::StatusOr<Transaction> Begin(Database& database, Kind kind);
  Transaction(Transaction&& other) noexcept : database_(std::exchange(other.database_, nullptr)) {}
  Transaction& operator=(Transaction&&) = delete;
  ~Transaction();
  absl::Status Commit();

 private:
  explicit Transaction(Database* database) : database_(database) {}
  Database* database_;
};

template <typename... Values>
absl::StatusOr<Statement> Database::Query(const std::string& sql, const Values&... values) {
  AMC_ASSIGN_OR_RETURN(Statement statement, Prepare(sql));
  int index = 0, code = 0;  // 0 is SQLITE_OK
  ((code = code == 0 ? statement.Bind(++index, values) : code), ...);
  if (code != 0) return BindFailed(index, code, sql);
  return statement;
}

template <typename... Values>
absl::StatusOr<int64_t> Database::Run(const std::string& sql, const Values&... values) {
  AMC_ASSIGN_OR_RETURN(Statement statement, Query(sql, values...));
  return RunToEnd(std::move(statement));
}

}  // namespace amc::sqlite
