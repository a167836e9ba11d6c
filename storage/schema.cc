// The tables, as numbered migrations.
//
// A value is a column where SQL filters, orders, joins or updates by it; what is only carried is a
// serialised message. Everything a job owns goes with it (ON DELETE CASCADE).
#include "storage/migrations.h"

namespace amc {
namespace {

constexpr Migration kVersion1 = R"sql(
CREATE TABLE jobs (
  key           INTEGER PRIMARY KEY AUTOINCREMENT,  -- in order of creation, never used twice
  id            TEXT    NOT NULL UNIQUE,
  request_id    TEXT    NOT NULL UNIQUE,
  spec_hash     TEXT    NOT NULL,
  state         INTEGER NOT NULL,                   -- v1.JobState
  numerics_id   TEXT    NOT NULL,                   -- empty before the first lease
  last_sequence INTEGER NOT NULL,                   -- of its events
  last_task     INTEGER NOT NULL,                   -- highest number given, also to tasks now gone
  body          BLOB    NOT NULL                    -- v1.Job without what has a column
) STRICT;
CREATE INDEX jobs_by_state ON jobs (state, key);

CREATE TABLE events (
  job           INTEGER NOT NULL REFERENCES jobs (key) ON DELETE CASCADE,
  sequence      INTEGER NOT NULL,
  body          BLOB    NOT NULL,                   -- v1.JobEvent without sequence
  PRIMARY KEY (job, sequence)
) STRICT;

-- reward, top1, macs and params repeat what the body says, to filter and order by. Each order has an
-- index that ends with the filters' columns, so that a row is only fetched once it is wanted.
CREATE TABLE episodes (
  job           INTEGER NOT NULL REFERENCES jobs (key) ON DELETE CASCADE,
  number        INTEGER NOT NULL,
  reward        REAL    NOT NULL,
  top1          REAL    NOT NULL,
  macs          INTEGER NOT NULL,
  params        INTEGER NOT NULL,
  body          BLOB    NOT NULL,                   -- v1.Episode without job, number and steps
  steps         BLOB    NOT NULL,                   -- v1.Episode with nothing but steps
  UNIQUE (job, number)
) STRICT;
CREATE INDEX episodes_by_number ON episodes (job, number, reward, top1, macs, params);
CREATE INDEX episodes_by_reward ON episodes (job, reward DESC, number, top1, macs, params);
CREATE INDEX episodes_by_macs   ON episodes (job, macs, number, reward, top1, params);
CREATE INDEX episodes_by_top1   ON episodes (job, top1 DESC, number, reward, macs, params);

CREATE TABLE checkpoints (
  job           INTEGER PRIMARY KEY REFERENCES jobs (key) ON DELETE CASCADE,
  state         BLOB    NOT NULL
) STRICT;

CREATE TABLE tasks (
  job             INTEGER NOT NULL REFERENCES jobs (key) ON DELETE CASCADE,
  task            INTEGER NOT NULL,
  kind            INTEGER NOT NULL,                 -- v1.TaskKind
  episode         INTEGER NOT NULL,                 -- -1: of none
  state           INTEGER NOT NULL,                 -- TaskState
  epoch           INTEGER NOT NULL,
  lost_attempts   INTEGER NOT NULL,
  failed_attempts INTEGER NOT NULL,
  not_before_ms   INTEGER NOT NULL,
  worker          TEXT    NOT NULL,
  expire_ms       INTEGER NOT NULL,
  policy          BLOB    NOT NULL,                 -- v1.Policy
  result          BLOB,                             -- v1.TaskResult once done
  error           BLOB    NOT NULL,                 -- v1.TaskError
  PRIMARY KEY (job, task),
  UNIQUE (job, kind, episode)
) STRICT;

-- Outlives its task, to answer a repeated completion after the generation was committed.
CREATE TABLE attempts (
  job           INTEGER NOT NULL REFERENCES jobs (key) ON DELETE CASCADE,
  task          INTEGER NOT NULL,
  epoch         INTEGER NOT NULL,
  kind          INTEGER NOT NULL,
  episode       INTEGER NOT NULL,
  worker        TEXT    NOT NULL,
  start_ms      INTEGER NOT NULL,
  end_ms        INTEGER NOT NULL,                   -- 0: open
  outcome       INTEGER NOT NULL,                   -- AttemptOutcome
  message       TEXT    NOT NULL,
  result_digest TEXT    NOT NULL,                   -- sha256 of the v1.TaskResult without seconds
  PRIMARY KEY (job, task, epoch)
) STRICT, WITHOUT ROWID;

CREATE TABLE workers (
  uuid          TEXT    PRIMARY KEY,
  body          BLOB    NOT NULL                    -- v1.Worker without uuid
) STRICT, WITHOUT ROWID;

CREATE TABLE artifacts (
  digest         TEXT    PRIMARY KEY,
  size           INTEGER NOT NULL,
  kind           INTEGER NOT NULL,                  -- v1.ArtifactKind
  name           TEXT    NOT NULL,
  create_time_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
)sql";

constexpr Migration kMigrations[] = {kVersion1};

}  // namespace

absl::Span<const Migration> SchemaMigrations() { return kMigrations; }

}  // namespace amc
