// The tables, as numbered migrations.
//
// A value is a column where SQL filters, orders, joins or updates by it; what is only carried is a
// serialised message. Everything a job owns goes with it (ON DELETE CASCADE).
#include "base/status_macros.h"
#include "storage/episode_zones.h"
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

// Crashes that supervisors report, candidates that were measured before, artifacts that go when
// nobody needs them.
constexpr Migration kVersion2 = R"sql(
ALTER TABLE tasks ADD COLUMN crashed_attempts INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN reuse_key TEXT NOT NULL DEFAULT '';   -- of measurements; empty: none

CREATE TABLE measurements (
  reuse_key     TEXT    PRIMARY KEY,                -- MODEL:SHA256, of what decides the result
  worker        TEXT    NOT NULL,                   -- uuid of who measured
  result        BLOB    NOT NULL                    -- v1.TaskResult
) STRICT, WITHOUT ROWID;

ALTER TABLE artifacts ADD COLUMN use_time_ms INTEGER NOT NULL DEFAULT 0;  -- last upload or submission
UPDATE artifacts SET use_time_ms = create_time_ms;
)sql";

// Bounds of the episodes in each stretch of each order; see episode_zones.h.
constexpr Migration kVersion3 = R"sql(
CREATE TABLE episode_zones (
  job           INTEGER NOT NULL REFERENCES jobs (key) ON DELETE CASCADE,
  axis          INTEGER NOT NULL,                   -- ZoneAxis
  zone          INTEGER NOT NULL,                   -- ZoneOf the axis's value
  episodes      INTEGER NOT NULL,                   -- how many lie in it
  low_number    INTEGER NOT NULL,
  high_number   INTEGER NOT NULL,
  high_reward   REAL    NOT NULL,
  high_top1     REAL    NOT NULL,
  low_macs      INTEGER NOT NULL,
  low_params    INTEGER NOT NULL,
  PRIMARY KEY (job, axis, zone)
) STRICT, WITHOUT ROWID;

INSERT INTO episode_zones
  WITH places (job, axis, value, number, reward, top1, macs, params) AS (
    SELECT job, 1, number, number, reward, top1, macs, params FROM episodes UNION ALL
    SELECT job, 2, reward, number, reward, top1, macs, params FROM episodes UNION ALL
    SELECT job, 3, top1,   number, reward, top1, macs, params FROM episodes UNION ALL
    SELECT job, 4, macs,   number, reward, top1, macs, params FROM episodes)
  SELECT job, axis, amc_zone(value), count(*), min(number), max(number), max(reward), max(top1), min(macs),
         min(params)
  FROM places GROUP BY 1, 2, 3;
)sql";

// Episodes of several kinds, and tasks on a part of the reward images.
constexpr Migration kVersion4 = R"sql(
ALTER TABLE tasks ADD COLUMN images INTEGER NOT NULL DEFAULT 0;    -- of the reward split; 0: as the spec says
ALTER TABLE episodes ADD COLUMN kind INTEGER NOT NULL DEFAULT 1;   -- v1.EpisodeKind

DROP INDEX episodes_by_number;
DROP INDEX episodes_by_reward;
DROP INDEX episodes_by_macs;
DROP INDEX episodes_by_top1;
CREATE INDEX episodes_by_number ON episodes (job, number, reward, top1, macs, params, kind);
CREATE INDEX episodes_by_reward ON episodes (job, reward DESC, number, top1, macs, params, kind);
CREATE INDEX episodes_by_macs   ON episodes (job, macs, number, reward, top1, params, kind);
CREATE INDEX episodes_by_top1   ON episodes (job, top1 DESC, number, reward, macs, params, kind);
)sql";

// Latency tables. The large body stands last, so that lists do not read it.
constexpr Migration kVersion5 = R"sql(
CREATE TABLE latency_tables (
  digest        TEXT    PRIMARY KEY,                -- sha256 of its CSV
  runtime       TEXT    NOT NULL,
  version       TEXT    NOT NULL,
  device        TEXT    NOT NULL,
  threads       INTEGER NOT NULL,
  batch         INTEGER NOT NULL,
  date          TEXT    NOT NULL,
  layers        INTEGER NOT NULL,                   -- distinct ones
  row_count     INTEGER NOT NULL,
  import_ms     INTEGER NOT NULL,
  fits          BLOB    NOT NULL,                   -- v1.LatencyTableInfo with nothing but fits
  body          BLOB    NOT NULL                    -- v1.LatencyTable
) STRICT;
CREATE INDEX latency_tables_by_import ON latency_tables (import_ms, digest);
)sql";

// Tasks that time networks.
constexpr Migration kVersion6 = R"sql(
ALTER TABLE tasks ADD COLUMN timing BLOB NOT NULL DEFAULT x'';     -- v1.TimingOrder
)sql";

constexpr Migration kMigrations[] = {kVersion1, kVersion2, kVersion3,
                                     kVersion4, kVersion5, kVersion6};

}  // namespace

absl::Span<const Migration> SchemaMigrations() { return kMigrations; }

absl::Status MigrateToPresent(sqlite::Database& database) {
  AMC_RETURN_IF_ERROR(rows::DefineZoneFunction(database));
  return Migrate(database, SchemaMigrations());
}

}  // namespace amc
