"""amc compare: agents at equal cost, the same figures however often it is stopped. Stages and sensitivity curves."""
import csv
import json
import os
import re
import signal
import unittest

import numpy as np

from amc_e2e import Background, TinyCase, amc, wait_until
from run_test import processes_of, read

SMALL = ["--reward-images", 100, "--report-images", 120, "--set", "evaluation.reconstruction_images=200"]


def comparison(model, pack, out, *more, agents="random:4,ddpg-paper,uniform", seeds=2):
    return ["compare", model, "--data", pack, "--budget", "0.5", "--agents", agents, "--episodes", 3,
            "--seeds", seeds, "--set", "search.ddpg.warmup_episodes=2", *SMALL, "-o", out, *more]


def rows_of(out):
    """The rows of compare.csv without the jobs' ids, which are random."""
    with open(f"{out}/compare.csv") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row.pop("job")
    return rows


class CompareTest(TinyCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.out = os.path.join(os.path.dirname(cls.model), "comparison")
        if not os.path.exists(cls.out):
            done = amc(*comparison(cls.model, cls.pack, cls.out))
            assert done.returncode == 0, done.stderr
            cls.said = done.stdout
        cls.found = json.loads(read(f"{cls.out}/compare.json"))

    def test_every_agent_has_its_figures(self):
        agents = {agent["agent"]: agent for agent in self.found["agents"]}
        self.assertEqual(list(agents), ["random:4", "ddpg-paper", "uniform"])
        self.assertEqual([len(agent["runs"]) for agent in agents.values()], [2, 2, 1])
        macs = int(self.json("inspect", self.model)["macs"])
        for agent in agents.values():
            for run in agent["runs"]:
                self.assertLessEqual(2 * run["macs"], macs)
                self.assertLessEqual(run["spent"], agent["evaluations"])
                rewards = [point["reward"] for point in run["curve"]]
                self.assertEqual(rewards, sorted(rewards))
                self.assertEqual(rewards[-1], run["reward"])
                self.assertEqual(run["curve"][-1]["work"], run["work"])
            self.assertAlmostEqual(agent["kl"]["mean"], np.mean([run["kl"] for run in agent["runs"]]), places=5)
            self.assertAlmostEqual(agent["top1_drop"]["mean"],
                                   100 * np.mean([run["top1_original"] - run["top1"] for run in agent["runs"]]), places=5)
            self.assertLessEqual(agent["kl"]["low"], agent["kl"]["mean"])
            self.assertLessEqual(agent["kl"]["mean"], agent["kl"]["high"])
        self.assertEqual([(d["agent"], d["other"]) for d in self.found["differences"]],
                         [("random:4", "ddpg-paper"), ("random:4", "uniform")])
        for name in agents:
            self.assertIn(f"\n{name} ", "\n" + self.said)

    def test_outcomes_are_those_of_the_network(self):
        run = self.found["agents"][0]["runs"][1]
        outcomes = np.load(f"{self.out}/outcomes/random-4-seed-1.npy")
        self.assertEqual(outcomes.shape, (120, 4))
        self.assertAlmostEqual(outcomes[:, 1].mean(), run["top1"], places=6)
        self.assertAlmostEqual(outcomes[:, 2].mean(), run["kl"], places=5)

    def test_goes_on_after_kill_9(self):
        out = f"{self.dir}/out"
        command = Background(self.dir, "compare", *comparison(self.model, self.pack, out))
        command.wait_for("of 5 jobs")
        command.stop(signal.SIGKILL)
        wait_until(lambda: not processes_of(out), 10, "the children's end")
        self.assertFalse(os.path.exists(f"{out}/compare.csv"))
        again = amc(*comparison(self.model, self.pack, out))
        self.assertEqual(again.returncode, 0, again.stderr)
        self.assertRegex(again.stderr, r"going on: \d of 5 jobs are done")
        self.assertEqual(rows_of(out), rows_of(self.out))

    def test_what_is_done_is_read_back_and_what_is_new_is_added(self):
        before = read(f"{self.out}/compare.json")
        for log in os.listdir(f"{self.out}/logs"):
            os.remove(f"{self.out}/logs/{log}")
        self.assertEqual(self.ok(*comparison(self.model, self.pack, self.out, "--json")), before)
        self.assertEqual(os.listdir(f"{self.out}/logs"), ["server.log"])
        jobs = {run["job"] for agent in self.found["agents"] for run in agent["runs"]}
        more = json.loads(self.ok(*comparison(self.model, self.pack, self.out, "--json", agents="uniform,random:4", seeds=3)))
        new = {run["job"] for agent in more["agents"] for run in agent["runs"]} - jobs
        self.assertEqual(len(new), 1)

    def test_another_comparison_is_replaced_by_force_alone(self):
        out = f"{self.dir}/out"
        self.ok(*comparison(self.model, self.pack, out, agents="uniform,random:2", seeds=1))
        other = [word if word != "0.5" else "0.6" for word in comparison(self.model, self.pack, out, agents="uniform")]
        before = read(f"{out}/compare.json")
        said = self.fails(2, "budget.ratio 0.5, this command says 0.6", *other)
        self.assertIn("--force", said)
        self.assertEqual(read(f"{out}/compare.json"), before)
        self.assertEqual(sorted(os.listdir(f"{out}/outcomes")), ["random-2.npy", "uniform.npy"])
        self.ok(*other, "--force")
        self.assertEqual(json.loads(read(f"{out}/compare.json"))["budget"]["ratio"], 0.6)
        self.assertEqual(os.listdir(f"{out}/outcomes"), ["uniform.npy"])

    def test_an_agent_that_fails_leaves_the_others_their_results(self):
        out = f"{self.dir}/out"
        self.fails(1, "dp:EVALUATIONS", *comparison(self.model, self.pack, out, agents="uniform,dp:1"))
        command = Background(self.dir, "compare",
                             *comparison(self.model, self.pack, out, agents="uniform,random:5000", seeds=1))
        command.wait_for("of 2 jobs")
        jobs = self.json("jobs", "--dir", out)["jobs"]
        victim = [job["id"] for job in jobs if job["spec"]["search"]["agent"] == "random"]
        self.ok("cancel", victim[0], "--server", f"unix:{out}/.amc/socket")
        self.assertEqual(command.process.wait(60), 1)
        said = command.output()
        self.assertIn(f"random:5000: job {victim[0]} was cancelled", said)
        self.assertIn("random:EVALUATIONS", said)
        self.assertEqual([row["agent"] for row in rows_of(out)], ["uniform"])
        self.assertEqual(len(json.loads(read(f"{out}/compare.json"))["agents"]), 1)
        command.file.close()

    def test_refuses_at_once_what_it_cannot_do(self):
        base = ["compare", self.model, "--data", self.pack, "--budget", "0.5", "-o", f"{self.dir}/out"]
        self.fails(2, "\"nobody\" is none of hybrid", *base, "--agents", "nobody")
        self.fails(2, "random:0", *base, "--agents", "random:0")
        self.fails(2, "are the same", *base, "--agents", "random,random")
        self.fails(2, "--seed", *base, "--seed", 1)
        self.assertFalse(os.path.exists(f"{self.dir}/out"))


class StagesTest(TinyCase):
    def test_each_stage_searches_what_the_one_before_has_left(self):
        out = f"{self.dir}/out"
        command = ["run", self.model, "--data", self.pack, "--stages", "0.6,0.4", "--agent", "random", "--episodes", 5,
                   *SMALL, "-o", out]
        shown = self.ok(*command)
        for said in ("original", "1: 60.0%", "2: 40.0%", "KL from the original", "stage-1/"):
            self.assertIn(said, shown)
        macs = int(self.json("inspect", self.model)["macs"])
        printed = self.ok(*command, "--json")
        self.assertEqual(read(f"{out}/stages.json"), printed)
        stages = json.loads(printed)["stages"]
        self.assertEqual([stage["ratio"] for stage in stages], [0.6, 0.4])
        for stage in stages:
            self.assertLessEqual(int(stage["result"]["compressed"]["cost"]["macs"]), stage["ratio"] * macs)
        self.assertEqual(stages[1]["result"]["original"]["cost"], stages[0]["result"]["compressed"]["cost"])
        self.assertEqual([len(read(f"{out}/stage-{k}/history.jsonl").splitlines()) for k in (1, 2)], [3, 2])
        self.assertEqual(read(f"{out}/model.onnx", "rb"), read(f"{out}/stage-2/model.onnx", "rb"))
        # The last network against the first original, measured by hand.
        against = self.json("eval", f"{out}/model.onnx", "--data", self.pack, "--reference", self.model, "--limit", 120,
                            "--threads", 1)
        self.assertAlmostEqual(against["measurement"]["kl"], stages[1]["kl_from_original"], places=6)
        self.assertEqual(stages[0]["kl_from_original"], stages[0]["result"]["compressed"]["kl"])
        # The first stage alone, which is done: nothing of the second is left.
        fewer = [{"0.6,0.4": "0.6", 5: 3}.get(word, word) for word in command]
        self.ok(*fewer, "--force")
        self.assertTrue(os.path.exists(f"{out}/stage-1"))
        self.assertFalse(os.path.exists(f"{out}/stage-2"))
        self.assertEqual(len(json.loads(read(f"{out}/stages.json"))["stages"]), 1)

    def test_goes_on_in_the_stage_where_it_stopped(self):
        out = f"{self.dir}/out"
        command = ["run", self.model, "--data", self.pack, "--stages", "0.6,0.4", "--agent", "random", "--episodes", 4,
                   *SMALL, "-o", out]
        run = Background(self.dir, "run", *command)
        run.wait_for("stage 2 of 2")
        self.assertEqual(run.stop(signal.SIGINT), 1)
        again = amc(*command)
        self.assertEqual(again.returncode, 0, again.stderr)
        self.assertNotIn("stage 1 of 2", again.stderr)
        self.assertIn("stage 1's network: top-1", again.stderr)
        for share in re.findall(r"MACs ([0-9.]+)%", again.stderr):
            self.assertLessEqual(float(share), 40)  # of the first original
        self.assertEqual(len(self.json("jobs", "--dir", out)["jobs"]), 2)
        self.fails(2, "--force", *[word if word != "0.6,0.4" else "0.7,0.4" for word in command])

    def test_refuses_stages_that_do_not_fall(self):
        base = ["run", self.model, "--data", self.pack, "-o", f"{self.dir}/out"]
        self.fails(2, "0.5 after 0.25", *base, "--stages", "0.25,0.5")
        self.fails(2, "--stages", *base, "--stages", "0.5,0.25", "--budget", "0.5")
        self.assertFalse(os.path.exists(f"{self.dir}/out"))


class ExtendedTest(TinyCase):
    def test_a_job_that_was_extended_is_not_taken_for_the_shorter_one(self):
        out = f"{self.dir}/out"
        for episodes, jobs, more in ((2, 1, []), (3, 1, []), (2, 2, ["--force"])):
            self.ok("run", self.model, "--data", self.pack, "--budget", "0.5", "--agent", "random", "--episodes", episodes,
                    *SMALL, "-o", out, *more)
            self.assertEqual(len(read(f"{out}/history.jsonl").splitlines()), episodes)
            self.assertEqual(len(self.json("jobs", "--dir", out)["jobs"]), jobs)


class SensitivityTest(TinyCase):
    def test_probes_are_drawn_as_curves(self):
        out = f"{self.dir}/out"
        self.ok("run", self.model, "--data", self.pack, "--budget", "0.5", "--agent", "dp", "--episodes", 40,
                "--probe-images", 50, "--probe-ratios", 2, *SMALL, "-o", out)
        probes = [json.loads(line) for line in self.ok("history", "--dir", out, "--kind", "probe", "--json").splitlines()]
        self.assertTrue(all(probe["kind"] == "EPISODE_KIND_PROBE" for probe in probes))
        table = self.ok("history", "--dir", out)
        self.assertRegex(table, r"episode +kind +images")
        curves = [json.loads(line) for line in self.ok("history", "--dir", out, "--sensitivity", "--json").splitlines()]
        # The whole network was measured once, and stands at the beginning of every curve.
        self.assertEqual(sum(len(curve["points"]) - 1 for curve in curves), len(probes) - 1)
        self.assertTrue(all(curve["points"][0]["ratio"] == 1 for curve in curves))
        shown = self.ok("history", "--dir", out, "--sensitivity").splitlines()
        self.assertEqual([line.split()[0] for line in shown[2:]], [curve["group"] for curve in curves])
        for curve in curves:
            for point in curve["points"]:
                self.assertEqual(point["images"], 50)
                self.assertAlmostEqual(point["ratio"], point["kept"] / curve["channels"])
        candidates = self.ok("history", "--dir", out, "--kind", "candidate")
        self.assertNotIn("kind", candidates.splitlines()[0])

    def test_says_where_there_are_no_probes(self):
        out = f"{self.dir}/out"
        self.ok("run", self.model, "--data", self.pack, "--budget", "0.5", "--agent", "uniform", "--episodes", 2, *SMALL,
                "-o", out)
        self.fails(1, "has measured no probes", "history", "--dir", out, "--sensitivity")


if __name__ == "__main__":
    unittest.main(verbosity=2)
