"""amc run: finds a smaller network, gives the same history however it is executed, survives stops."""
import json
import os
import signal
import time
import unittest

from amc_e2e import Background, TinyCase, amc, environment, wait_until


def search(model, pack, out, workers=2, episodes=16):
    return ["run", model, "--data", pack, "--budget", "0.5", "--agent", "ddpg-paper", "--episodes", episodes, "--seed", 3,
            "--set", "search.ddpg.warmup_episodes=4", "--set", "evaluation.reconstruction_images=200",
            "--workers", workers, "-o", out]


def read(path, mode="r"):
    with open(path, mode) as file:
        return file.read()


def processes_of(folder):
    """Ids of processes that have `folder` in their arguments."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if folder in read(f"/proc/{pid}/cmdline") and int(pid) != os.getpid():
                found.append(int(pid))
        except OSError:
            pass
    return found


class RunTest(TinyCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # What every other way to execute the same search is compared with.
        cls.reference_out = os.path.join(os.path.dirname(cls.model), "reference")
        cls.reference = amc(*search(cls.model, cls.pack, cls.reference_out))

    def assert_same_result(self, out):
        self.assertEqual(read(f"{out}/history.jsonl"), read(f"{self.reference_out}/history.jsonl"))
        self.assertEqual(read(f"{out}/model.onnx", "rb"), read(f"{self.reference_out}/model.onnx", "rb"))

    def test_compresses_within_the_budget(self):
        self.assertEqual(self.reference.returncode, 0, self.reference.stderr)
        for said in ("MACs", "file size", "test accuracy", "measured latency", "model.onnx"):
            self.assertIn(said, self.reference.stdout)
        self.assertRegex(self.reference.stderr, r"16\.0/16 evaluations  best -?\d\.\d+\b")

        before = self.json("inspect", self.model)
        after = self.json("inspect", f"{self.reference_out}/model.onnx")
        self.assertLessEqual(2 * int(after["macs"]), int(before["macs"]))
        self.assertGreaterEqual(int(after["macs"]), 0.45 * int(before["macs"]))
        policy = self.json("inspect", self.model, "--policy", f"{self.reference_out}/policy.json")
        self.assertEqual(policy["policy_cost"]["macs"], after["macs"])
        self.assertGreater(self.json("eval", f"{self.reference_out}/model.onnx", "--data", self.pack)
                           ["measurement"]["top1"], 0.5)

    def test_every_candidate_is_within_the_budget(self):
        macs = int(self.json("inspect", self.model)["macs"])
        episodes = [json.loads(line) for line in read(f"{self.reference_out}/history.jsonl").splitlines()]
        self.assertEqual([episode["number"] for episode in episodes], list(range(16)))
        for episode in episodes:
            self.assertLessEqual(2 * episode["cost"]["macs"], macs)
            self.assertEqual(episode["cost"]["macs"], episode["measurement"]["macs"])

    def test_eval_measures_a_history_as_the_workers_did(self):
        out = f"{self.dir}/random"  # evaluated with default settings, as eval does
        self.ok("run", self.model, "--data", self.pack, "--budget", "0.5", "--agent", "random", "--episodes", 4, "-o", out)
        history = [json.loads(line) for line in read(f"{out}/history.jsonl").splitlines()]
        lines = self.ok("eval", self.model, "--data", self.pack, "--split", "reward", "--threads", 1, "--json",
                        "--policies", f"{out}/history.jsonl")
        measured = [json.loads(line) for line in lines.splitlines()]
        self.assertEqual(len(history), 4)
        for episode, again in zip(history, measured, strict=True):
            for figure in ("top1", "loss", "kl"):
                self.assertEqual(episode["measurement"].get(figure), again["measurement"].get(figure))

    def test_eval_names_the_line_of_a_policy_that_is_none(self):
        for text, fault in (("{}", "no JSON with a policy"), ("no json", "no JSON with a policy"),
                            ('{"policy": {"conv1": 1.5}}', "conv1 keeps no whole number of channels"),
                            ('{"policy": {"nothing": 1}}', "nothing")):
            with open(f"{self.dir}/history", "w") as file:
                file.write(text)
            self.fails(1, fault, "eval", self.model, "--data", self.pack, "--split", "reward", "--policies",
                       f"{self.dir}/history")

    def test_history_and_best_read_the_folder_of_a_run(self):
        out = self.reference_out
        self.assertEqual(self.ok("history", "--dir", out, "--canonical"), read(f"{out}/history.jsonl"))
        rewards = [json.loads(line)["reward"] for line in
                   self.ok("history", "--dir", out, "--json", "--order", "reward", "--limit", 3).splitlines()]
        self.assertEqual(len(rewards), 3)
        self.assertEqual(rewards, sorted(rewards, reverse=True))
        best = self.json("best", "--dir", out, "--policy", f"{self.dir}/policy.json")
        self.assertEqual(best["episode"]["reward"], rewards[0])
        self.assertEqual(best["result"]["episode"], best["episode"]["number"])
        self.assertIn(best["result"]["recalibrated"], (True, False))
        self.assertEqual(read(f"{self.dir}/policy.json"), read(f"{out}/policy.json"))
        job = best["episode"]["job"]
        self.assertIn("test accuracy", self.ok("best", job, "--dir", out))
        self.fails(1, "nobody", "history", "nobody", "--dir", out)
        self.assertEqual(processes_of(out), [])

    def test_history_needs_the_folder_of_a_run(self):
        self.fails(1, f"{self.dir} is not the folder of a run", "history", "--dir", self.dir)
        self.assertEqual(os.listdir(self.dir), [])
        self.fails(2, "JOB or --dir is required", "history")

    def test_one_worker_gives_the_same_history_as_two(self):
        self.ok(*search(self.model, self.pack, f"{self.dir}/out", workers=1))
        self.assert_same_result(f"{self.dir}/out")

    def test_the_same_command_again_finds_the_job_done(self):
        before = read(f"{self.reference_out}/history.jsonl")
        result = self.json(*search(self.model, self.pack, self.reference_out))
        self.assertLessEqual(2 * int(result["compressed"]["cost"]["macs"]),
                             int(result["original"]["cost"]["macs"]))
        self.assertIn(result["recalibrated"], (True, False))
        self.assertEqual(read(f"{self.reference_out}/history.jsonl"), before)

    def test_saying_a_default_is_the_same_command_and_starts_no_worker(self):
        out = f"{self.dir}/out"
        first = ["run", self.model, "--data", self.pack, "--budget", "0.5", "--episodes", 2, "--agent", "uniform",
                 "-o", out]
        self.ok(*first)
        os.remove(f"{out}/logs/worker-1.log")
        os.remove(f"{out}/model.onnx")
        done = amc(*first, "--seed", 0, "--resource", "macs")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stderr, r"^already done \(job \w+\)\n$")
        self.assertFalse(os.path.exists(f"{out}/logs/worker-1.log"))
        self.assertTrue(os.path.exists(f"{out}/model.onnx"))

    def test_more_episodes_go_on_where_the_search_ended(self):
        out = f"{self.dir}/out"
        self.ok(*search(self.model, self.pack, out, episodes=12))
        again = amc(*search(self.model, self.pack, out, episodes=16))
        self.assertEqual(again.returncode, 0, again.stderr)
        self.assertIn("going on after 12.0/12 evaluations with 4 more", again.stderr)
        self.assertEqual(read(f"{out}/history.jsonl"), read(f"{self.reference_out}/history.jsonl"))
        self.assertEqual(read(f"{out}/model.onnx", "rb"), read(f"{self.reference_out}/model.onnx", "rb"))
        self.fails(2, "search.episodes 16, this command says 12", *search(self.model, self.pack, out, episodes=12))

    def test_another_job_in_the_folder_is_overwritten_only_by_force(self):
        out = f"{self.dir}/out"
        first, other = (["run", self.model, "--data", self.pack, "--budget", budget, "--episodes", 2, "--agent",
                         "random", "-o", out] for budget in ("0.5", "0.7"))
        self.ok(*first)
        kept = read(f"{out}/model.onnx", "rb")
        said = self.fails(2, "budget.ratio 0.5, this command says 0.7", *other)
        self.assertNotIn("episodes 2,", said)
        self.assertIn("--force", said)
        self.assertEqual(read(f"{out}/model.onnx", "rb"), kept)
        old = self.json("jobs", "--dir", out)["jobs"]
        self.assertEqual(len(old), 1)
        self.ok(*other, "--force")
        self.assertNotEqual(read(f"{out}/model.onnx", "rb"), kept)
        self.assertEqual(len(self.json("jobs", "--dir", out)["jobs"]), 2)
        self.assertEqual(len(self.ok("history", old[0]["id"], "--dir", out, "--json").splitlines()), 2)
        # The first one again is an earlier job now.
        self.fails(2, "budget.ratio 0.7, this command says 0.5", *first)
        self.ok(*first, "--force")
        self.assertEqual(read(f"{out}/model.onnx", "rb"), kept)

    def test_refuses_at_once_what_it_cannot_do(self):
        out = f"{self.dir}/out"
        base = ["run", self.model, "-o", out, "--data"]
        for wrong in (["--budget", "1.5"], ["--budget", "0"], [], ["--budget", "0.5", "--agent", "ppo"],
                      ["--budget", "0.5", "--episodes", 0], ["--budget", "0.5", "--seed", "-1"]):
            self.fails(2, wrong[-2] if wrong else "--budget", *base, self.pack, *wrong)
        with open(f"{self.dir}/cut.pack", "wb") as file:
            file.write(read(self.pack, "rb")[:1000])
        self.fails(1, "cut.pack: the file has 1000 bytes", *base, f"{self.dir}/cut.pack", "--budget", "0.5")
        if "no CUDA device" in amc("eval", self.model, "--data", self.pack, "--device", "cuda").stderr:
            self.fails(1, "cuda asked for, but", *base, self.pack, "--budget", "0.5", "--device", "cuda")
        self.assertFalse(os.path.exists(out))

    def test_goes_on_after_ctrl_c(self):
        out = f"{self.dir}/out"
        run = Background(self.dir, "run", *search(self.model, self.pack, out))
        run.wait_for("/16 evaluations")
        self.assertEqual(run.stop(signal.SIGINT), 1)
        self.assertIn("amc run: interrupted\nNothing is lost: the same command goes on", run.output())
        self.assertEqual(processes_of(out), [])
        self.assertFalse(os.path.exists(f"{out}/model.onnx"))
        seen = self.ok("history", "--dir", out, "--canonical")
        self.assertGreater(len(seen), 0)
        self.assertTrue(read(f"{self.reference_out}/history.jsonl").startswith(seen))
        self.ok(*search(self.model, self.pack, out))
        self.assert_same_result(out)

    def test_goes_on_after_kill_9_which_leaves_no_process_behind(self):
        out = f"{self.dir}/out"
        run = Background(self.dir, "run", *search(self.model, self.pack, out))
        run.wait_for("/16 evaluations")
        run.stop(signal.SIGKILL)
        wait_until(lambda: not processes_of(out), 10, "the children's end")
        self.ok(*search(self.model, self.pack, out))
        self.assert_same_result(out)

    def test_shows_the_log_of_a_child_that_dies(self):
        out = f"{self.dir}/out"
        run = Background(self.dir, "run", *search(self.model, self.pack, out, workers=1))
        run.wait_for("measuring the original")
        worker = wait_until(lambda: [pid for pid in processes_of(out)
                                     if "\0worker\0" in read(f"/proc/{pid}/cmdline")], 20, "a worker")
        os.kill(worker[0], signal.SIGKILL)
        self.assertEqual(run.process.wait(30), 1)
        self.assertRegex(run.output(), r"amc run: the worker 1 was killed by signal 9; the end of its log, .*")
        run.file.close()
        self.assertEqual(processes_of(out), [])

    def test_refuses_a_folder_in_use(self):
        out = f"{self.dir}/out"
        run = Background(self.dir, "run", *search(self.model, self.pack, out))
        wait_until(lambda: os.path.exists(f"{out}/.amc/lock"), 20, "the lock")
        time.sleep(0.2)
        self.fails(1, "another amc command is working in this folder", *search(self.model, self.pack, out))
        run.stop(signal.SIGINT)

    def test_history_reads_a_run_under_way(self):
        out = f"{self.dir}/out"
        run = Background(self.dir, "run", *search(self.model, self.pack, out))
        run.wait_for("/16 evaluations")
        self.assertGreater(len(self.ok("history", "--dir", out, "--json").splitlines()), 0)
        self.assertEqual(run.stop(signal.SIGINT), 1)

    def test_works_in_a_folder_whose_path_is_too_long_for_a_socket(self):
        out = f"{self.dir}/{'long' * 30}"
        self.ok(*search(self.model, self.pack, out, episodes=2))

    def test_is_not_led_astray_by_what_is_meant_for_other_servers(self):
        env = dict(environment(), AMC_SERVER="127.0.0.1:1", AMC_TOKEN="secret")
        self.ok(*search(self.model, self.pack, f"{self.dir}/out", episodes=2), env=env)


if __name__ == "__main__":
    unittest.main(verbosity=2)
