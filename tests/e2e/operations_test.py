"""Operating a server: workers that crash, are killed, drained; amc workers, amc top, amc backup."""
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import time
import unittest

from amc_e2e import AMC, Background, TinyCase, environment, wait_until

SEGFAULT = "killed by signal 11 (Segmentation fault)"


def child_of(pid):
    """The id of the process that `pid` has started, or None."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            children = file.read().split()
    except OSError:
        return None
    return int(children[0]) if children else None


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def send(pid, sig):
    try:
        os.kill(pid, sig)
    except ProcessLookupError:
        pass


class OperationsCase(TinyCase):
    """A test with a server of its own, without workers."""

    def setUp(self):
        super().setUp()
        self.background = []
        self.address = self.serve("server", f"{self.dir}/data")

    def tearDown(self):
        for process in reversed(self.background):
            process.stop(signal.SIGKILL)
        super().tearDown()

    def start(self, name, *args):
        self.background.append(Background(self.dir, name, *args))
        return self.background[-1]

    def serve(self, name, folder):
        server = self.start(name, "serve", "--address", "127.0.0.1:0", "--data-folder", folder, "--backoff", "100ms")
        server.wait_for("listening on ")
        return server.output().split("listening on ")[1].split()[0]

    def worker(self, name="worker"):
        return self.start(name, "worker", "--server", self.address, "--cache", f"{self.dir}/cache", "--memory", "4G")

    def call(self, *args):
        return self.json(*args, "--server", self.address)

    def workers(self, *args):
        return self.call("workers", *args)["workers"]

    def submit(self, episodes, *more):
        return self.call("submit", "--model", self.model, "--data", self.pack, "--budget", "0.6", "--agent", "random",
                         "--episodes", episodes, *more)["id"]

    def job(self, job):
        return next(found for found in self.call("jobs")["jobs"] if found["id"] == job)

    def wait_for_state(self, job, state, seconds=90):
        wait_until(lambda: self.job(job)["state"] == f"JOB_STATE_{state}", seconds, f"{state}: {self.job(job)}")
        return self.job(job)

    def canonical(self, job, server=None):
        return self.ok("history", job, "--canonical", "--server", server or self.address)

    def strike(self, supervisor, sig, task=None):
        """Sends the child of the process `supervisor` a signal while it has a task, `task` if given; returns which."""
        def struck():
            pid = child_of(supervisor)
            if pid is None:
                return None
            # Held still before anybody is asked, it can neither end a short task before the answer nor take another one; what
            # it sent before that has arrived when the server is asked. Between two looks it has a slice to work in.
            send(pid, signal.SIGSTOP)
            time.sleep(0.1)
            busy = [worker["lease"]["task"] for worker in self.workers() if worker["state"] == "WORKER_STATE_BUSY"]
            hit = bool(busy) and task in (None, busy[0])
            if hit:
                send(pid, sig)
            send(pid, signal.SIGCONT)
            if hit:
                wait_until(lambda: not is_running(pid), 20, "the worker's end")
            return busy[0] if hit else None
        return wait_until(struck, 60, "a worker with a task")


class CrashTest(OperationsCase):
    def test_a_crash_is_counted_and_the_worker_starts_again(self):
        supervisor = self.worker()
        job = self.submit(2000)
        self.strike(supervisor.process.pid, signal.SIGSEGV)
        crashed = wait_until(lambda: [worker for worker in self.workers("--all")
                                      if worker["state"] == "WORKER_STATE_CRASHED"], 20, "the report")
        self.assertEqual([worker["message"] for worker in crashed], [SEGFAULT])
        there = wait_until(self.workers, 20, "the next worker")
        self.assertNotEqual(there[0]["uuid"], crashed[0]["uuid"])
        self.assertIn(f"{SEGFAULT}; it starts again in 1.0 s", supervisor.output())
        self.assertIn(SEGFAULT, self.ok("workers", "--all", "--server", self.address))
        done = int(self.job(job)["episodes_done"])
        wait_until(lambda: int(self.job(job)["episodes_done"]) > done, 60, "progress")

    def test_a_candidate_that_crashes_its_workers_blocks_the_job_until_it_is_resumed(self):
        supervisor = self.worker()
        job = self.submit(3, "--parallel-episodes", 1, "--set", "max_attempts=3", "--set",
                          "evaluation.reconstruction=strong")
        task = self.strike(supervisor.process.pid, signal.SIGSEGV)
        for _ in range(2):
            self.strike(supervisor.process.pid, signal.SIGSEGV, task)
        failed = self.wait_for_state(job, "FAILED")
        self.assertEqual(failed["failure"], "FAILURE_REASON_QUARANTINED")
        self.assertIn(SEGFAULT, failed["message"])
        self.fails(1, rf"job {job} failed: .*\n.*logs.*`amc resume {job}`", "watch", job, "--server", self.address)
        self.assertRegex(self.ok("jobs", "--server", self.address), rf"job {job} failed: .*\n.*`amc resume {job}`")
        self.assertNotEqual(self.call("resume", job)["state"], "JOB_STATE_FAILED")
        done = self.wait_for_state(job, "SUCCEEDED")
        self.assertEqual(done["episodes_done"], "3")

    def test_a_worker_that_somebody_kills_counts_for_nothing(self):
        supervisor = self.worker()
        job = self.submit(3, "--parallel-episodes", 1, "--set", "max_attempts=1")
        for _ in range(2):
            self.strike(supervisor.process.pid, signal.SIGKILL)
        self.assertEqual(self.wait_for_state(job, "SUCCEEDED")["failure"], "FAILURE_REASON_UNSPECIFIED")
        self.assertIn("killed by signal 9 (Killed); it starts again", supervisor.output())

    def test_a_supervisor_that_is_killed_leaves_no_worker_behind(self):
        supervisor = self.worker()
        wait_until(self.workers, 30, "the worker")
        pid = child_of(supervisor.process.pid)
        supervisor.stop(signal.SIGKILL)
        wait_until(lambda: not is_running(pid), 10, "the worker's end")

    def test_a_worker_that_gives_up_passes_its_exit_code_on(self):
        said = self.fails(3, r"amc worker: .*127\.0\.0\.1:1", "worker", "--server", "127.0.0.1:1", "--give-up-after", "0.3",
                          "--cache", f"{self.dir}/cache")
        self.assertEqual(said.count("amc worker:"), 1)

    def test_two_signals_end_a_worker_at_once_and_its_task_goes_back(self):
        supervisor = self.worker()
        job = self.submit(50, "--set", "evaluation.reconstruction=strong")
        wait_until(lambda: any(worker["state"] == "WORKER_STATE_BUSY" for worker in self.workers()), 60, "a task")
        pid = child_of(supervisor.process.pid)
        supervisor.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        supervisor.stop(signal.SIGTERM)
        self.assertFalse(is_running(pid))
        self.assertEqual(self.workers(), [])
        self.assertEqual([worker["state"] for worker in self.workers("--all")], ["WORKER_STATE_GONE"])
        self.call("cancel", job)

    def test_a_run_survives_a_crash_of_its_worker(self):
        search = ["run", self.model, "--data", self.pack, "--budget", "0.5", "--agent", "random", "--episodes", 8,
                  "--set", "evaluation.reconstruction=strong", "--workers", 1, "-o"]
        self.ok(*search, f"{self.dir}/calm")
        run = self.start("run", *search, f"{self.dir}/shaken")
        run.wait_for("/8 evaluations")
        self.address = f"unix:{self.dir}/shaken/.amc/socket"
        self.strike(self.supervisor_in(f"{self.dir}/shaken"), signal.SIGSEGV)
        self.assertEqual(run.process.wait(120), 0, run.output())
        self.assertIn(f"worker 1: {SEGFAULT}; it starts again in 1.0 s", run.output())
        with open(f"{self.dir}/calm/history.jsonl") as calm, open(f"{self.dir}/shaken/history.jsonl") as shaken:
            self.assertEqual(calm.read(), shaken.read())

    def test_a_run_ends_with_the_reason_when_its_job_is_blocked_and_goes_on_when_called_again(self):
        search = ["run", self.model, "--data", self.pack, "--budget", "0.5", "--agent", "random", "--episodes", 6,
                  "--set", "evaluation.reconstruction=strong", "--workers", 1, "--set", "max_attempts=1",
                  "-o", f"{self.dir}/out"]
        run = self.start("run", *search)
        run.wait_for("/6 evaluations")
        self.address = f"unix:{self.dir}/out/.amc/socket"
        self.strike(self.supervisor_in(f"{self.dir}/out"), signal.SIGSEGV)
        self.assertEqual(run.process.wait(60), 1, run.output())
        self.assertRegex(run.output(), rf"amc run: job \w+ failed: .*{re.escape(SEGFAULT)}.*\n.*the same command tries again")
        # How a job shares the workers makes no other job of it.
        self.ok(*search, "--priority", 3, "--memory", "1M", "--no-reuse")
        with open(f"{self.dir}/out/history.jsonl") as history:
            self.assertEqual(len(history.readlines()), 6)

    @staticmethod
    def supervisor_in(folder):
        """The id of the `amc worker` that an `amc run` into `folder` has started."""
        def found():
            return next((pid for pid in map(int, filter(str.isdigit, os.listdir("/proc")))
                         if CrashTest.is_worker_of(pid, folder)), None)
        return wait_until(found, 20, "a supervisor")

    @staticmethod
    def is_worker_of(pid, folder):
        try:
            with open(f"/proc/{pid}/cmdline") as file:
                words = file.read().split("\0")
        except OSError:
            return False
        return words[0].endswith("/amc") and words[1:2] == ["worker"] and any(folder in word for word in words)


class DrainTest(OperationsCase):
    def test_drained_workers_finish_and_leave(self):
        first, second = self.worker("first"), self.worker("second")
        wait_until(lambda: len(self.workers()) == 2, 30, "two workers")
        uuid = self.workers()[0]["uuid"]
        self.assertIn(uuid[:12], self.ok("workers", "--server", self.address))
        self.assertIn("1 worker finishes the task at hand and leaves",
                      self.ok("workers", "drain", uuid[:4], "--server", self.address))
        wait_until(lambda: len(self.workers()) == 1, 30, "the first to leave")
        ended = wait_until(lambda: [worker for worker in (first, second) if worker.process.poll() is not None], 20,
                           "its supervisor's end")
        self.assertEqual([worker.process.returncode for worker in ended], [0])
        self.fails(1, f"no worker {uuid[:8]}... is there\n`amc workers`", "workers", "drain", uuid[:8], "--server",
                   self.address)
        self.fails(2, "at least 4 characters", "workers", "drain", uuid[:3], "--server", self.address)
        self.fails(2, "UUID or --all", "workers", "drain", "--server", self.address)
        left = self.workers()[0]["uuid"]
        self.assertEqual(self.call("workers", "drain", "--all")["uuids"], [left])
        for worker in (first, second):
            self.assertEqual(worker.process.wait(20), 0)
        self.assertIn("Nobody is there", self.ok("workers", "--server", self.address))
        self.assertEqual({worker["state"] for worker in self.workers("--all")}, {"WORKER_STATE_GONE"})

    def test_lists_what_workers_are_at(self):
        self.worker()
        job = self.submit(500)
        busy = wait_until(lambda: [worker for worker in self.workers() if worker["state"] == "WORKER_STATE_BUSY"], 60,
                          "a task")
        self.assertEqual(busy[0]["lease"]["job"], job)
        self.assertEqual(busy[0]["capabilities"]["memory_bytes"], "4000000000")
        wait_until(lambda: re.search(rf"busy .* {job} +\d+ +\w", self.ok("workers", "--server", self.address)), 30,
                   "progress")


class TopTest(OperationsCase):
    def test_prints_once_where_nobody_looks(self):
        self.worker()
        job = self.submit(500, "--name", "first")
        self.wait_for_state(job, "SEARCHING")
        for options in ([], ["--once"]):
            text = self.ok("top", *options, "--server", self.address)
            self.assertRegex(text, r"^amc \d+\.\d+\.\d+ at 127\.0\.0\.1:\d+, up ")
            self.assertIn("jobs: 1 running, 0 queued   workers: 1, ", text)
            self.assertRegex(text, rf"{job} +first +searching +\d+ +\d+\.\d/500 ")
            self.assertNotIn("\x1b", text)
        wait_until(lambda: re.search(r"searching +\d+ +[\d.]+/500 +[-\d.]+ +[\d.]+ +\d+ (s|min)", self.ok(
            "top", "--server", self.address)), 60, "speed and ETA")
        snapshot = self.call("top")
        self.assertEqual(sorted(snapshot), ["jobs", "status", "workers"])
        self.assertEqual(snapshot["status"]["jobs_running"], "1")
        self.assertEqual(snapshot["jobs"][0]["id"], job)
        self.assertEqual(len(snapshot["workers"]), 1)

    def test_draws_in_a_terminal_until_ctrl_c_and_sits_out_a_server_that_is_away(self):
        master, slave = pty.openpty()
        top = subprocess.Popen([AMC, "top", "--server", self.address], stdin=slave, stdout=slave, stderr=slave,
                               env=environment(), start_new_session=True)
        os.close(slave)
        seen = b""

        def shows(text):
            nonlocal seen
            seen += os.read(master, 65536)
            return text in seen
        wait_until(lambda: shows(b"no jobs"), 20, "the first picture")
        self.assertIn(b"\x1b[?25l", seen)
        address, folder = self.address, f"{self.dir}/data"
        self.background[0].stop(signal.SIGKILL)
        wait_until(lambda: shows(b"does not answer since"), 20, "word of the server's absence")
        seen = b""
        self.start("again", "serve", "--address", address, "--data-folder", folder)
        wait_until(lambda: shows(b"up ") and b"does not answer" not in seen.split(b"\x1b[H")[-2], 20, "its return")
        top.send_signal(signal.SIGINT)
        self.assertEqual(top.wait(10), 130)
        while not seen.endswith(b"\n"):
            seen += os.read(master, 65536)
        self.assertIn(b"\x1b[?25h", seen)
        os.close(master)


class BackupTest(OperationsCase):
    def test_a_backup_of_a_working_server_can_be_served(self):
        self.worker()
        folder = f"{self.dir}/backup"
        job = self.submit(12)
        wait_until(lambda: int(self.job(job)["episodes_done"]) >= 2, 60, "two episodes")
        done = self.call("backup", folder)
        self.assertGreater(int(done["database_bytes"]), 0)
        self.assertEqual(done["artifacts_copied"], "2")
        self.wait_for_state(job, "SUCCEEDED")
        whole = self.canonical(job)
        self.assertEqual(len(whole.splitlines()), 12)

        # A second one copies what is new: the network and its outcomes.
        early = f"{self.dir}/early"
        shutil.copytree(folder, early)
        self.assertIn(" 4 artifacts (2 new, ", self.ok("backup", folder, "--server", self.address))

        # The first is a job under way: what is committed is the beginning of the same history.
        address = self.serve("early", early)
        committed = self.canonical(job, address)
        self.assertGreaterEqual(len(committed.splitlines()), 2)
        self.assertTrue(whole.startswith(committed))
        # The second is the job done, with its network.
        address = self.serve("late", folder)
        self.assertEqual(self.canonical(job, address), whole)
        self.ok("export", job, "-o", f"{self.dir}/small.onnx", "--server", address)
        self.fails(1, "a server is using this folder", "backup", folder, "--server", self.address)
        self.fails(1, "a server is using this folder", "backup", f"{self.dir}/data", "--server", self.address)

    def test_a_backup_under_way_goes_on_with_the_search(self):
        self.worker()
        job = self.submit(12)
        wait_until(lambda: int(self.job(job)["episodes_done"]) >= 2, 60, "two episodes")
        self.ok("backup", f"{self.dir}/backup", "--server", self.address)
        self.wait_for_state(job, "SUCCEEDED")
        whole = self.canonical(job)
        self.address = self.serve("copy", f"{self.dir}/backup")
        self.worker("other")
        self.wait_for_state(job, "SUCCEEDED")
        self.assertEqual(self.canonical(job), whole)


class LimitsTest(OperationsCase):
    def test_durations_and_quotas_are_checked_before_anything_starts(self):
        for wrong in (["--lease-term", "15"], ["--heartbeat", "0s"], ["--heartbeat", "20s"], ["--disk-quota", "much"],
                      ["--max-jobs", "0"]):
            self.fails(2, wrong[0], "serve", "--data-folder", f"{self.dir}/none", *wrong)
        self.fails(2, "--heartbeat 6s .*--lease-term 15s", "serve", "--data-folder", f"{self.dir}/none", "--heartbeat", "6s")
        self.fails(2, "--heartbeat 1s .*--lease-term 2.9s", "serve", "--data-folder", f"{self.dir}/none", "--lease-term",
                   "2900ms")
        self.fails(2, "--memory", "worker", "--memory", "-1")
        self.assertFalse(os.path.exists(f"{self.dir}/none"))

    def test_more_jobs_than_the_server_takes_are_refused(self):
        address = self.start("small", "serve", "--address", "127.0.0.1:0", "--data-folder", f"{self.dir}/small",
                             "--max-jobs", 1)
        address.wait_for("listening on ")
        self.address = address.output().split("listening on ")[1].split()[0]
        self.submit(5)
        self.fails(1, "1", "submit", "--model", self.model, "--data", self.pack, "--budget", "0.6", "--agent", "random",
                   "--server", self.address)

    def test_artifacts_beyond_the_quota_are_refused(self):
        server = self.start("small", "serve", "--address", "127.0.0.1:0", "--data-folder", f"{self.dir}/small",
                            "--disk-quota", "10k")
        server.wait_for("listening on ")
        address = server.output().split("listening on ")[1].split()[0]
        self.fails(1, "quota", "submit", "--model", self.model, "--data", self.pack, "--budget", "0.6", "--server", address)

    def test_a_result_that_the_quota_leaves_no_room_for_waits_and_says_so(self):
        room = os.path.getsize(self.model) + os.path.getsize(self.pack) + 1000
        server = self.start("small", "serve", "--address", "127.0.0.1:0", "--data-folder", f"{self.dir}/small",
                            "--disk-quota", room)
        server.wait_for("listening on ")
        self.address = server.output().split("listening on ")[1].split()[0]
        worker = self.worker()
        job = self.start("job", "submit", "--model", self.model, "--data", self.pack, "--budget", "0.6", "--agent", "random",
                         "--episodes", 1, "--wait", "--server", self.address)
        job.wait_for("waiting to store: ")
        self.assertIn("quota", job.output())
        self.assertEqual(job.stop(signal.SIGINT), 130)
        time.sleep(2)  # for more tries
        self.assertEqual(worker.output().count("the server has no room"), 1, worker.output())

    def test_a_job_that_needs_more_memory_than_there_is_waits_and_says_so(self):
        self.worker()
        wait_until(self.workers, 30, "the worker")
        job = self.start("job", "submit", "--model", self.model, "--data", self.pack, "--budget", "0.6", "--memory", "8G",
                         "--wait", "--server", self.address)
        job.wait_for("waiting for a worker")
        self.assertEqual(job.stop(signal.SIGINT), 130)


if __name__ == "__main__":
    unittest.main(verbosity=2)
