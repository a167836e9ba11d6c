// From any older schema to the present one, in numbered steps.
//
// The version is SQLite's user_version; application_id marks the file as ours. All missing steps
// run in one transaction, after a copy of the old file was put beside it: a migration that fails
// leaves the old version as it was.
#pragma once

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "storage/sqlite.h"

namespace amc {

// SQL that turns version N - 1 into version N, where N is its place in the list, counted from 1. A
// step that was released never changes. Foreign keys are off while it runs (a table may be rebuilt)
// and checked before the commit.
using Migration = const char*;

// "amcs": what `file` and others show for our databases.
inline constexpr int64_t kApplicationId = 0x616d6373;

// Brings `database` to version migrations.size(); an empty file starts at version 0. The copy of an
// older version N is PATH.vN.bak. FailedPrecondition for a newer version (names both) and for a
// database of another program.
absl::Status Migrate(sqlite::Database& database, absl::Span<const Migration> migrations);

// The steps to the present schema, and Migrate with them.
absl::Span<const Migration> SchemaMigrations();
absl::Status MigrateToPresent(sqlite::Database& database);

}  // namespace amc
