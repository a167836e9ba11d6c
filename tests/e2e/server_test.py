"""Client commands against a server on a port of its own, with one worker."""
import json
import os
import shutil
import signal
import subprocess
import unittest

from amc_e2e import Background, TinyCase, amc, environment, wait_until


class ServerTest(TinyCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.home = os.path.join(os.path.dirname(cls.model), "served")
        os.makedirs(cls.home, exist_ok=True)
        cls.server = Background(cls.home, "server", "serve", "--address", "127.0.0.1:0",
                                "--data-folder", f"{cls.home}/data")
        cls.server.wait_for("listening on ")
        cls.address = cls.server.output().split("listening on ")[1].split()[0]
        cls.worker = Background(cls.home, "worker", "worker", "--server", cls.address,
                                "--cache", f"{cls.home}/cache")
        done = amc("submit", "--model", cls.model, "--data", cls.pack, "--budget", "0.6", "--episodes", 6,
                   "--agent", "random", "--request-id", "first", "--wait", "--json", "--server", cls.address)
        assert done.returncode == 0, done.stderr
        cls.job = json.loads(done.stdout)
        cls.id = cls.job["id"]

    @classmethod
    def tearDownClass(cls):
        cls.worker.stop()
        cls.server.stop()

    def ok(self, *args, **kwargs):
        if args[0] not in ("inspect", "eval"):
            args += ("--server", self.address)
        return super().ok(*args, **kwargs)

    def submit(self, request_id, episodes, *more):
        return self.json("submit", "--model", self.model, "--data", self.pack, "--budget", "0.6", "--episodes",
                         episodes, "--agent", "random", "--request-id", request_id, *more)

    def history(self, *args):
        return [json.loads(line) for line in self.ok("history", self.id, "--json", *args).splitlines()]

    def test_the_job_says_what_it_resolved_to(self):
        self.assertEqual(self.job["state"], "JOB_STATE_SUCCEEDED")
        self.assertEqual(self.job["spec"]["search"]["episodes"], "6")
        self.assertEqual(self.job["spec"]["space"]["min_preserve_ratio"], 0.2)
        self.assertNotEqual(self.job["numerics_id"], "")

    def test_submitting_again_with_the_same_request_id_is_the_same_job(self):
        self.assertEqual(self.submit("first", 6)["id"], self.id)
        self.assertNotEqual(self.submit("other", 1)["id"], self.id)
        self.fails(1, "first", "submit", "--model", self.model, "--data", self.pack, "--budget", "0.6",
                   "--episodes", 7, "--agent", "random", "--request-id", "first", "--server", self.address)

    def test_jobs_lists_it(self):
        self.assertIn(self.id, [job["id"] for job in self.json("jobs")["jobs"]])
        self.assertRegex(self.ok("jobs"), rf"{self.id} .*succeeded")

    def test_history_filters_and_orders(self):
        everything = self.history()
        self.assertEqual([int(episode["number"]) for episode in everything], list(range(6)))
        rewards = [episode["reward"] for episode in self.history("--order", "reward")]
        self.assertEqual(rewards, sorted(rewards, reverse=True))
        self.assertEqual(len(self.history("--limit", "2")), 2)
        limit = sorted(int(episode["cost"]["macs"]) for episode in everything)[2]
        self.assertEqual(len(self.history("--max-macs", limit)),
                         sum(int(episode["cost"]["macs"]) <= limit for episode in everything))
        self.assertEqual([int(e["number"]) for e in self.history("--from", 2, "--to", 3)], [2, 3])

    def test_canonical_history_has_no_times_and_no_workers(self):
        lines = self.ok("history", self.id, "--canonical").splitlines()
        for line in lines:
            episode = json.loads(line)
            self.assertEqual(list(episode), ["number", "note", "kind", "steps", "policy", "cost", "evaluations",
                                             "measurement", "reward"])
            self.assertEqual(list(episode["steps"][0]), ["group", "action", "executed", "kept"])
        exact = [episode["reward"] for episode in self.history()]
        self.assertEqual([json.loads(line)["reward"] for line in lines], exact)

    def test_the_same_spec_gives_the_same_canonical_history(self):
        again = self.submit("again", 6, "--wait")
        self.assertEqual(self.ok("history", again["id"], "--canonical"), self.ok("history", self.id, "--canonical"))

    def test_best_writes_a_policy_that_inspect_understands(self):
        best = self.json("best", self.id, "--policy", f"{self.dir}/policy.json")
        self.assertEqual(best["episode"]["number"], self.job["best_episode"])
        cost = self.json("inspect", self.model, "--policy", f"{self.dir}/policy.json")["policy_cost"]
        self.assertEqual(cost, best["episode"]["cost"])
        self.assertIn("test accuracy", self.ok("best", self.id))

    def test_export_hands_out_the_network_that_was_measured(self):
        self.ok("export", self.id, "--output", f"{self.dir}/small.onnx")
        info = self.json("inspect", f"{self.dir}/small.onnx")
        self.assertEqual(info["sha256"], self.job["result"]["model"])
        measured = self.json("eval", f"{self.dir}/small.onnx", "--data", self.pack, "--threads", 1)["measurement"]
        self.assertEqual(measured["top1"], self.job["result"]["compressed"]["top1"])

    def test_watch_replays_every_event(self):
        events = [json.loads(line) for line in self.ok("watch", self.id, "--json").splitlines()]
        stored = [int(event["sequence"]) for event in events if event["sequence"] != "0"]
        self.assertEqual(stored, list(range(1, int(self.job["last_sequence"]) + 1)))
        later = self.ok("watch", self.id, "--json", "--after", stored[-1] - 1).splitlines()
        self.assertEqual(json.loads(later[0])["sequence"], str(stored[-1]))
        self.assertIn("before", self.ok("watch", self.id))

    def test_workers_lists_the_worker(self):
        workers = self.json("workers")["workers"]
        self.assertEqual([worker["state"] for worker in workers if int(worker["completed"]) > 0],
                         ["WORKER_STATE_IDLE"])

    def test_cancel_resume_delete(self):
        job = self.submit("long", 2000)["id"]
        self.fails(1, job, "delete", job, "--server", self.address)
        self.assertEqual(self.json("cancel", job)["state"], "JOB_STATE_CANCELLED")
        self.assertEqual(self.json("cancel", job)["state"], "JOB_STATE_CANCELLED")
        self.fails(1, f"was cancelled: it has no network .*\n`amc resume {job}`", "export", job, "-o", f"{self.dir}/x",
                   "--server", self.address)
        self.assertNotEqual(self.json("resume", job)["state"], "JOB_STATE_CANCELLED")
        self.ok("cancel", job)
        self.ok("delete", job)
        self.fails(1, job, "best", job, "--server", self.address)

    def test_unknown_jobs_are_named(self):
        for command in ("watch", "best", "cancel", "resume", "delete", "history"):
            self.fails(1, "nonesuch.*\n`amc jobs`", command, "nonesuch", "--server", self.address)

    def test_a_watcher_that_leaves_says_that_the_job_goes_on(self):
        watched = Background(self.dir, "watch", "submit", "--model", self.model, "--data", self.pack, "--budget", "0.6",
                             "--episodes", 2000, "--agent", "random", "--wait", "--server", self.address)
        watched.wait_for("/2000 evaluations")
        self.assertEqual(watched.stop(signal.SIGINT), 130)
        self.assertRegex(watched.output(), r"job (\w+) goes on\n`amc watch \1` follows it, `amc cancel \1` stops it")
        self.ok("cancel", watched.output().split()[1])

    def test_bad_specs_name_their_field(self):
        base = ["submit", "--model", self.model, "--data", self.pack, "--server", self.address]
        self.fails(2, r"--budget", *base, "--budget", "1.5")
        self.fails(2, r"--agent", *base, "--budget", "0.5", "--agent", "nobody")
        self.fails(1, r"--budget: .*(smallest|reach|minimum)", *base, "--budget", "0.01")
        self.fails(1, r"--frozen: .*nothing.*\n`amc inspect .*` lists the groups", *base, "--budget", "0.5",
                   "--frozen", "nothing")


class AddressTest(TinyCase):
    def test_a_server_that_is_not_there(self):
        for command in (["jobs"], ["workers"], ["watch", "x"], ["history", "x"], ["best", "x"],
                        ["submit", "--model", self.model, "--data", self.pack, "--budget", "0.5"]):
            self.fails(3, r"cannot reach 127.0.0.1:1\n.*amc serve", *command, "--server", "127.0.0.1:1",
                       "--connect-timeout", "0.3")

    def test_a_port_in_use(self):
        first = Background(self.dir, "first", "serve", "--address", "127.0.0.1:0", "--data-folder", f"{self.dir}/a")
        first.wait_for("listening on ")
        address = first.output().split("listening on ")[1].split()[0]
        self.fails(1, address, "serve", "--address", address, "--data-folder", f"{self.dir}/b")
        # And a data folder in use.
        self.fails(1, "process|open|use", "serve", "--address", "127.0.0.1:0", "--data-folder", f"{self.dir}/a")
        self.assertEqual(first.stop(signal.SIGTERM), 0)

    def test_a_job_without_a_worker_says_what_it_waits_for(self):
        server = Background(self.dir, "server", "serve", "--address", "127.0.0.1:0", "--data-folder", f"{self.dir}/a")
        server.wait_for("listening on ")
        address = server.output().split("listening on ")[1].split()[0]
        job = Background(self.dir, "job", "submit", "--model", self.model, "--data", self.pack, "--budget", "0.5",
                         "--wait", "--server", address)
        job.wait_for("waiting for a worker: no worker is connected")
        self.assertEqual(job.stop(signal.SIGINT), 130)
        self.assertEqual(job.output().count("waiting for a worker"), 1)
        self.assertEqual(server.stop(), 0)

    def test_an_address_beyond_this_machine_needs_tls_and_a_token(self):
        self.fails(1, "--tls-cert, --tls-key and --token", "serve", "--address", "0.0.0.0:0", "--data-folder", f"{self.dir}/data")
        self.fails(2, "neither HOST:PORT nor unix:/PATH", "jobs", "--server", "nonsense")

    def test_tls_and_token_let_in_only_who_has_them(self):
        if shutil.which("openssl") is None:
            self.skip_or_fail("openssl")
        certificate, key = f"{self.dir}/cert.pem", f"{self.dir}/key.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", key,
                        "-out", certificate, "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"],
                       check=True, stderr=subprocess.DEVNULL)
        server = Background(self.dir, "server", "serve", "--address", "0.0.0.0:0", "--data-folder",
                            f"{self.dir}/data", "--tls-cert", certificate, "--tls-key", key, "--token", "open sesame")
        server.wait_for("listening on ")
        port = server.output().split("listening on ")[1].split()[0].split(":")[1]
        reach = ["--server", f"127.0.0.1:{port}", "--connect-timeout", "2"]
        tls = ["--tls-ca", certificate]
        env = dict(environment(), AMC_TOKEN="open sesame")
        self.ok("jobs", *reach, *tls, env=env)
        self.fails(1, "token", "jobs", *reach, *tls)
        self.fails(1, "token", "jobs", *reach, *tls, "--token", "wrong")
        self.fails(1, "none.pem", "jobs", *reach, "--tls-ca", f"{self.dir}/none.pem")
        self.fails(2, "token needs TLS", "jobs", *reach, env=env)
        self.fails(3, "--tls-ca", "jobs", *reach)
        self.fails(1, "key.pem holds no certificate", "jobs", *reach, "--tls-ca", key)
        worker = Background(self.dir, "worker", "worker", *reach[:2], *tls, "--token", "open sesame",
                            "--cache", f"{self.dir}/cache")
        wait_until(lambda: json.loads(amc("workers", "--json", *reach, *tls, env=env).stdout)["workers"], 30,
                   "the worker")
        self.assertEqual(worker.stop(), 0)
        self.assertEqual(server.stop(), 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
