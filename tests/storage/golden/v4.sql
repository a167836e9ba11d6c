-- A database as version 4 wrote it, dumped with sqlite3. Read by migrations_test.cc; never changes.
PRAGMA application_id = 1634558835;
PRAGMA user_version = 4;
PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
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
INSERT INTO jobs VALUES(1,'golden','request','hash',3,'avx512',3,3,X'129b010a0673616d706c651240616161616161616161616161616161616161616161616161616161616161616161616161616161616161616161616161616161616161616161616161616161611a4064646464646464646464646464646464646464646464646464646464646464646464646464646464646464646464646464646464646464646464646464646464220911000000000000e03f2a021007300240ffffffffffffffffff017080d095ffbc31');
CREATE TABLE events (
  job           INTEGER NOT NULL REFERENCES jobs (key) ON DELETE CASCADE,
  sequence      INTEGER NOT NULL,
  body          BLOB    NOT NULL,                   -- v1.JobEvent without sequence
  PRIMARY KEY (job, sequence)
) STRICT;
INSERT INTO events VALUES(1,1,X'1081d095ffbc311801');
INSERT INTO events VALUES(1,2,X'1081d095ffbc3118032a700a06676f6c64656e18022a160a140a0e6c61796572312e302e636f6e76311001180432090880dac40910a08d063a1709000000000000d03f28882732090880dac40910a08d0641000000000000d03f4a077761726d2d7570520177580161000000000000c03f6882d095ffbc31800101');
INSERT INTO events VALUES(1,3,X'1081d095ffbc3118032a720a06676f6c64656e100118022a160a140a0e6c61796572312e302e636f6e76311001180432090881dac409109f8d063a1709000000000000e83f28882732090881dac409109f8d0641000000000000e83f4a077761726d2d7570520177580161000000000000c03f6882d095ffbc31800103');
CREATE TABLE episodes (
  job           INTEGER NOT NULL REFERENCES jobs (key) ON DELETE CASCADE,
  number        INTEGER NOT NULL,
  reward        REAL    NOT NULL,
  top1          REAL    NOT NULL,
  macs          INTEGER NOT NULL,
  params        INTEGER NOT NULL,
  body          BLOB    NOT NULL,                   -- v1.Episode without job, number and steps
  steps         BLOB    NOT NULL, kind INTEGER NOT NULL DEFAULT 1,                   -- v1.Episode with nothing but steps
  UNIQUE (job, number)
) STRICT;
INSERT INTO episodes VALUES(1,0,0.25,0.25,20000000,100000,X'18022a160a140a0e6c61796572312e302e636f6e76311001180432090880dac40910a08d063a1709000000000000d03f28882732090880dac40910a08d0641000000000000d03f4a077761726d2d7570520177580161000000000000c03f6882d095ffbc31800101',X'222c0a0e6c61796572312e302e636f6e7631119a9999999999b93f19000000000000d03f2004281032049a99993e',1);
INSERT INTO episodes VALUES(1,1,0.75,0.75,20000001,99999,X'18022a160a140a0e6c61796572312e302e636f6e76311001180432090881dac409109f8d063a1709000000000000e83f28882732090881dac409109f8d0641000000000000e83f4a077761726d2d7570520177580161000000000000c03f6882d095ffbc31800103',X'222c0a0e6c61796572312e302e636f6e763111295c8fc2f528bc3f19000000000000d03f2004281032049a99993e',3);
CREATE TABLE checkpoints (
  job           INTEGER PRIMARY KEY REFERENCES jobs (key) ON DELETE CASCADE,
  state         BLOB    NOT NULL
) STRICT;
INSERT INTO checkpoints VALUES(1,X'77656967687473');
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
  error           BLOB    NOT NULL, crashed_attempts INTEGER NOT NULL DEFAULT 0, reuse_key TEXT NOT NULL DEFAULT '', images INTEGER NOT NULL DEFAULT 0,                 -- v1.TaskError
  PRIMARY KEY (job, task),
  UNIQUE (job, kind, episode)
) STRICT;
INSERT INTO tasks VALUES(1,3,2,2,2,1,0,0,0,'w',9,X'0a140a0e6c61796572312e302e636f6e763110011804',NULL,X'',0,'',200);
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
INSERT INTO attempts VALUES(1,1,1,2,0,'w',1,3,2,'','86585dd339f30ee977bc6c8707314e77a4815726eb8d513bafe9e9ec0a8d35e8');
INSERT INTO attempts VALUES(1,2,1,2,1,'w',1,3,2,'','33d60d28c165e047aeecc704e3a7cfe5282531501d3cd096d92b1ea1d0b66be6');
INSERT INTO attempts VALUES(1,3,1,2,2,'w',1,0,1,'','');
CREATE TABLE workers (
  uuid          TEXT    PRIMARY KEY,
  body          BLOB    NOT NULL                    -- v1.Worker without uuid
) STRICT, WITHOUT ROWID;
INSERT INTO workers VALUES('w',X'1801');
CREATE TABLE artifacts (
  digest         TEXT    PRIMARY KEY,
  size           INTEGER NOT NULL,
  kind           INTEGER NOT NULL,                  -- v1.ArtifactKind
  name           TEXT    NOT NULL,
  create_time_ms INTEGER NOT NULL
, use_time_ms INTEGER NOT NULL DEFAULT 0) STRICT, WITHOUT ROWID;
INSERT INTO artifacts VALUES('aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',12,1,'net.onnx',5,1700000000000);
INSERT INTO artifacts VALUES('dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd',400,2,'cifar.amcpack',6,1700000000000);
CREATE TABLE measurements (
  reuse_key     TEXT    PRIMARY KEY,                -- MODEL:SHA256, of what decides the result
  worker        TEXT    NOT NULL,                   -- uuid of who measured
  result        BLOB    NOT NULL                    -- v1.TaskResult
) STRICT, WITHOUT ROWID;
INSERT INTO measurements VALUES('aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa:k0','w',X'0a0909cdccccccccccec3f19000000000000f83f2206617678353132');
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
INSERT INTO episode_zones VALUES(1,1,1048576,1,0,0,0.25,0.25,20000000,100000);
INSERT INTO episode_zones VALUES(1,1,1572352,1,1,1,0.75,0.75,20000001,99999);
INSERT INTO episode_zones VALUES(1,2,1571328,1,0,0,0.25,0.25,20000000,100000);
INSERT INTO episode_zones VALUES(1,2,1572096,1,1,1,0.75,0.75,20000001,99999);
INSERT INTO episode_zones VALUES(1,3,1571328,1,0,0,0.25,0.25,20000000,100000);
INSERT INTO episode_zones VALUES(1,3,1572096,1,1,1,0.75,0.75,20000001,99999);
INSERT INTO episode_zones VALUES(1,4,1584738,2,0,1,0.75,0.75,20000000,99999);
DELETE FROM sqlite_sequence;
INSERT INTO sqlite_sequence VALUES('jobs',1);
CREATE INDEX jobs_by_state ON jobs (state, key);
CREATE INDEX episodes_by_number ON episodes (job, number, reward, top1, macs, params, kind);
CREATE INDEX episodes_by_reward ON episodes (job, reward DESC, number, top1, macs, params, kind);
CREATE INDEX episodes_by_macs   ON episodes (job, macs, number, reward, top1, params, kind);
CREATE INDEX episodes_by_top1   ON episodes (job, top1 DESC, number, reward, macs, params, kind);
COMMIT;
