"""Budgets on other things than MACs: a latency table that is measured here, several bounds at once, what is dear in a history."""
import json
import math
import os
import re
import unittest

from amc_e2e import TinyCase, amc


class BudgetsTest(TinyCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # As coarse as a table can be: that it is right is another test's business.
        cls.table = f"{os.path.dirname(cls.model)}/table.csv"
        cls.build = ["lut", "build", cls.model, "--points", 3, "--tolerance", 0.4, "--networks", 3, "--unseen", 2, "-o", cls.table]
        done = amc(*cls.build)
        assert done.returncode == 0, done.stderr
        cls.built = done.stdout

    def run_job(self, out, *more):
        self.ok("run", self.model, "--data", self.pack, "--agent", "random", "--episodes", 4, "-o", f"{self.dir}/{out}", *more)
        return self.json("best", "--dir", f"{self.dir}/{out}")

    def test_a_table_is_measured_and_extended_by_nothing_when_it_is_whole(self):
        self.assertRegex(self.built, r"table\.csv: \d+ rows, \d+ measured now, of libtorch .*, 1 thread, batch 1\n")
        self.assertRegex(self.built, r"predicted within \d+\.\d% \(median\) and \d+\.\d% \(95th percentile\) of what 2 unseen")
        self.assertIn(self.built.split("digest ")[1][:12], self.ok("lut", "check", self.table))
        self.assertRegex(self.ok(*self.build), r"rows, 0 measured now")

    def test_a_search_keeps_a_latency_budget_and_every_other(self):
        best = self.run_job("out", "--budget", "latency=0.7", "--budget", "model_bytes=0.9", "--budget", "memory=90%",
                            "--latency-table", self.table, "--finalists", 0)
        uses = {use["resource"]: use for use in best["result"]["uses"]}
        self.assertEqual(list(uses), ["RESOURCE_LATENCY", "RESOURCE_MODEL_BYTES", "RESOURCE_ACTIVATION_BYTES"])
        for use in uses.values():
            self.assertLessEqual(int(use["compressed"]), int(use["limit"]))
            self.assertLessEqual(int(use["limit"]), 0.9 * int(use["original"]))
        said = self.ok("best", "--dir", f"{self.dir}/out")
        for title in ("latency, predicted", "weights", "activation memory"):
            self.assertIn(title, said)
        # The file has little more than its constants.
        size = os.path.getsize(f"{self.dir}/out/model.onnx")
        self.assertGreater(size, int(uses["RESOURCE_MODEL_BYTES"]["compressed"]))
        self.assertLess(size, int(uses["RESOURCE_MODEL_BYTES"]["compressed"]) + 40_000)

        front = self.json("best", "--dir", f"{self.dir}/out", "--pareto", "--resource", "params")
        self.assertEqual(front["resource"], "RESOURCE_PARAMS")
        costs = [int(point["cost"]) for point in front["points"]]
        rewards = [point["episode"]["reward"] for point in front["points"]]
        self.assertTrue(costs)
        self.assertEqual(costs, sorted(costs))
        self.assertEqual(rewards, sorted(rewards))
        self.assertEqual(max(rewards), best["episode"]["reward"])
        shown = self.ok("best", "--dir", f"{self.dir}/out", "--pareto", "--resource", "memory")
        self.assertRegex(shown, r"(?m)^ *episode +activation memory +of the original")
        self.assertRegex(shown, r"(?m)^original +[0-9.]+ kB +100\.0% +[0-9.]+% +0\.0000$")
        self.assertIn("Each is better, by negative_soft_kl, than all candidates that cost less.", shown)
        self.assertRegex(self.ok("best", "--dir", f"{self.dir}/out", "--pareto"), r"latency, predicted +of the original")
        self.fails(2, r'--resource: "flops" is no resource; there are macs', "best", "--dir", f"{self.dir}/out", "--pareto",
                   "--resource", "flops")
        # Any point of a front can be had.
        number = front["points"][0]["episode"]["number"]
        self.assertIn(f"episode {number}:", self.ok("best", "--dir", f"{self.dir}/out", "--episode", number, "--policy",
                                                    f"{self.dir}/policy.json"))
        with open(f"{self.dir}/policy.json") as file:
            keep = json.load(file)["keep"]
        self.assertEqual({name: int(kept) for name, kept in keep.items()},
                         {decision["target"]: int(decision["kept"]) for decision in
                          front["points"][0]["episode"]["policy"]["decisions"]})
        self.fails(1, "has no episode 1000 yet", "best", "--dir", f"{self.dir}/out", "--episode", 1000)
        self.fails(2, "excludes", "best", "--dir", f"{self.dir}/out", "--episode", 0, "--pareto")

    def test_the_winner_is_measured_before_it_wins(self):
        # Without a budget, which a coarse table on a busy machine would miss now and then.
        best = self.run_job("out", "--reward", "error_log_latency", "--latency-table", self.table, "--finalists", 2, "--must-measure")
        check = best["result"]["latency"]
        self.assertEqual(len(check["finalists"]), 2)
        self.assertTrue(all(finalist["holds"] for finalist in check["finalists"]))
        self.assertEqual(check["measured_us"], check["finalists"][0]["measured_us"])
        self.assertGreater(check["measured_original_us"], 0)
        self.assertEqual(check["setting"]["runtime"], "libtorch")
        said = self.ok("best", "--dir", f"{self.dir}/out")
        self.assertRegex(said, r"latency, measured +\S+ ms +\S+ ms")
        self.assertRegex(said, r"ms predicted, \S+ ms measured \([+-]\S+%\)\.")
        self.assertNotIn("that keep the budget", said)
        [use] = best["result"]["uses"]
        self.assertEqual((use["resource"], int(use["limit"])), ("RESOURCE_LATENCY", 0))
        self.assertLess(int(use["compressed"]), int(use["original"]))
        self.assertRegex(said, r"The table was off by \S+ \(median\) and \S+ \(95th percentile\) on 2 networks")

    def test_a_table_of_another_device_predicts_and_says_so(self):
        with open(self.table) as file:
            text = file.read()
        with open(f"{self.dir}/phone.csv", "w") as file:
            file.write(re.sub(r"(?m)^# device: .*$", "# device: Pixel 7", text))
        best = self.run_job("out", "--budget", "latency=0.8", "--latency-table", f"{self.dir}/phone.csv")
        self.assertRegex(best["result"]["latency"]["unmeasured"], r"no worker measures with libtorch .* on Pixel 7, 1 thread")
        self.assertIn("NOT MEASURED: no worker measures with", self.ok("best", "--dir", f"{self.dir}/out"))

    def test_a_reward_on_latency_needs_no_budget(self):
        best = self.run_job("out", "--reward", "error_log_latency", "--latency-table", self.table)
        front = self.json("best", "--dir", f"{self.dir}/out", "--pareto")
        self.assertEqual(front["resource"], "RESOURCE_LATENCY")
        for point in front["points"]:
            error = 1 - point["episode"]["measurement"]["top1"]
            self.assertAlmostEqual(point["episode"]["reward"], -error * math.log(int(point["cost"])))
        self.assertEqual(max(point["episode"]["reward"] for point in front["points"]), best["episode"]["reward"])

    def test_bad_budgets_are_refused(self):
        run = ["run", self.model, "--data", self.pack, "-o", f"{self.dir}/out"]
        self.fails(2, r'"20" is neither a ratio in \(0, 1\] nor an amount such as 20ms', *run, "--budget", "latency=20")
        self.fails(2, r'"flops" is no resource; there are macs', *run, "--budget", "flops=0.5")
        self.fails(2, r"--resource with several --budget", *run, "--budget", "0.5", "--budget", "0.6", "--resource", "macs")
        self.fails(1, r"--latency-table: a budget on latency needs a table", *run, "--budget", "latency=0.5")
        self.fails(1, r"--latency-table: a reward on latency needs a table", *run, "--reward", "error_log_latency")
        self.fails(1, r"--budget: a second bound on macs", *run, "--budget", "0.5", "--budget", "macs=0.6")
        self.fails(1, r"latency: a budget of 1000 .* is out of reach: the smallest cost found is \d+", *run, "--budget",
                   "latency=1us", "--latency-table", self.table)
        self.fails(1, r"--must-measure: without finalists there is nothing to measure", *run, "--budget", "latency=0.5",
                   "--latency-table", self.table, "--must-measure", "--finalists", 0)
        self.fails(1, r"none\.csv", *run, "--budget", "latency=0.5", "--latency-table", f"{self.dir}/none.csv")

    def test_a_table_of_another_network_is_refused_with_the_layers_it_lacks(self):
        with open(self.table) as file:
            lines = file.read().splitlines()
        rows = [line for line in lines if not line.startswith(("#", "layer,"))]
        kept = [line for line in rows if line.split(",")[0] == rows[0].split(",")[0]]
        head = [line for line in lines[:-1] if line.startswith("#")]
        with open(f"{self.dir}/cut.csv", "w") as file:
            file.write("\n".join([*head, "layer,in,out,median_us,spread_us", *kept, f"# rows: {len(kept)}", ""]))
        self.fails(1, r"--latency-table: .*(conv|linear)", "run", self.model, "--data", self.pack, "--budget", "latency=0.5",
                   "--latency-table", f"{self.dir}/cut.csv", "-o", f"{self.dir}/out")

    def test_a_table_of_another_setting_is_not_extended(self):
        self.fails(1, r"threads.*\n.*another -o", *self.build, "--threads", 2)
        with open(self.table) as file:
            self.assertIn("# threads: 1", file.read())


if __name__ == "__main__":
    unittest.main()
