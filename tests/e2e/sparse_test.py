"""Searches for zeros within weights: run, go on, simulate, package; and what is refused."""
import json
import unittest

import numpy as np
import onnx
from onnx import numpy_helper

from amc_e2e import TinyCase


class SparseTest(TinyCase):
    def run_sparse(self, out, *more, episodes=2):
        return self.ok("run", self.model, "--data", self.pack, "--agent", "random", "--episodes", episodes, "-o", f"{self.dir}/{out}", *more)

    def weights(self, path):
        return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer
                if len(tensor.dims) in (2, 4)}

    def test_single_weights_within_a_budget_of_non_zeros(self):
        said = self.run_sparse("out", "--sparsity", "element", "--budget", 0.4)
        self.assertIn("weights not zero", said)
        self.assertIn("amc package", said)
        self.assertNotIn("finetune", said)  # which would fill the zeros
        before, after = self.weights(self.model), self.weights(f"{self.dir}/out/model.onnx")
        self.assertEqual(before.keys(), after.keys())
        total = sum(weight.size for weight in before.values())
        kept = sum(np.count_nonzero(weight) for weight in after.values())
        self.assertLessEqual(kept, 0.4 * total)
        self.assertGreater(kept, 0.38 * total)
        best = self.json("best", "--dir", f"{self.dir}/out")
        use = best["result"]["uses"][0]
        self.assertEqual((use["resource"], int(use["original"])), ("RESOURCE_NONZEROS", total))
        self.assertEqual({decision["granularity"] for decision in best["episode"]["policy"]["decisions"]}, {"GRANULARITY_ELEMENT"})
        # The same command goes on, which here is nothing to do; the history is a function of the spec.
        self.run_sparse("out", "--sparsity", "element", "--budget", 0.4)
        self.run_sparse("again", "--sparsity", "element", "--budget", 0.4, "--workers", 1)
        histories = [self.ok("history", "--dir", f"{self.dir}/{out}", "--canonical") for out in ("out", "again")]
        self.assertEqual(*histories)
        self.ok("best", "--dir", f"{self.dir}/out", "--policy", f"{self.dir}/policy.json")
        self.ok("run", self.model, "--data", self.pack, "--agent", "evolution", "--episodes", 1, "--sparsity", "element", "--budget", 0.4,
                "--start-policy", f"{self.dir}/policy.json", "-o", f"{self.dir}/started")

    def test_two_of_four_or_dense(self):
        self.run_sparse("out", "--sparsity", "2:4", "--budget", 0.7)
        after = self.weights(f"{self.dir}/out/model.onnx")
        pruned = 0
        for weight in after.values():
            if np.all(weight != 0) or weight.shape[1] % 4 != 0:
                continue
            groups = np.moveaxis(weight, 1, -1).reshape(-1, 4)
            self.assertTrue(np.all(np.count_nonzero(groups, axis=1) <= 2))
            pruned += 1
        self.assertGreater(pruned, 0)
        self.ok("package", f"{self.dir}/out/model.onnx", "--format", "nvidia24", "-o", f"{self.dir}/package")
        with open(f"{self.dir}/package/manifest.json") as file:
            layers = json.load(file)["layers"]
        self.assertEqual(sum(layer["backends"][0]["eligible"] for layer in layers), pruned)
        self.assertIn("self-test passed", self.ok("verify", f"{self.dir}/package"))

    def test_a_simulated_runtimes_time_is_a_budget(self):
        table = f"{self.dir}/table.csv"
        self.assertIn("simulated, of cambricon_x", self.ok("lut", "simulate", self.model, "--backend", "cambricon_x", "--points", 4,
                                                           "--data", self.pack, "-o", table))
        said = self.run_sparse("out", "--sparsity", "element", "--budget", "latency=0.8", "--latency-table", table)
        self.assertIn("NOT MEASURED: these times are simulated", said)
        best = self.json("best", "--dir", f"{self.dir}/out")
        use = best["result"]["uses"][0]
        self.assertLessEqual(int(use["compressed"]), 0.8 * int(use["original"]))
        self.assertEqual(best["result"]["latency"]["setting"]["device"], "simulated")
        run = ["run", self.model, "--data", self.pack, "--episodes", 1, "-o", f"{self.dir}/no", "--latency-table", table]
        self.fails(1, "lacks .* sparse 2:4", *run, "--sparsity", "2:4", "--budget", "latency=0.8")
        self.fails(1, "does not know|no layer|lacks", *run, "--budget", "latency=0.8")  # channels
        self.fails(1, "--must-measure: a simulated runtime's times cannot be measured", *run, "--sparsity", "element",
                   "--budget", "latency=0.8", "--must-measure")

    def test_refuses_what_makes_no_sense(self):
        run = ["run", self.model, "--data", self.pack, "--episodes", 1, "-o", f"{self.dir}/no"]
        self.fails(2, "is none of element, vector, kernel, pattern, block and N:M", *run, "--budget", 0.5, "--sparsity", "rows")
        self.fails(2, "is none of", *run, "--budget", 0.5, "--sparsity", "3:2")
        self.fails(1, "zeros within weights do not change macs", *run, "--budget", "macs=0.5", "--sparsity", "element")
        self.fails(1, "needs sparsity", *run, "--budget", "nonzeros=0.5")
        self.fails(1, "fine-tuning does not keep zeros", *run, "--budget", 0.5, "--sparsity", "element", "--finetune-steps", 5)
        self.fails(2, "there is no backend \"tpu\"", "lut", "simulate", self.model, "--backend", "tpu", "-o", f"{self.dir}/t.csv")
        self.fails(1, "csr has no cycle model", "lut", "simulate", self.model, "--backend", "csr", "-o", f"{self.dir}/t.csv")


if __name__ == "__main__":
    unittest.main(verbosity=2)
