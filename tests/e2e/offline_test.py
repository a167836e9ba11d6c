"""Commands without a server: help, inspect, init, prune, infer, eval."""
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

import numpy as np

from amc_e2e import AMC, Background, TinyCase, amc, environment

COMMANDS = ["run", "inspect", "init", "prune", "package", "verify", "infer", "eval", "train", "finetune", "data pack",
            "serve",
            "worker", "submit", "watch", "jobs", "best", "cancel", "resume", "delete", "export", "workers",
            "history"]


class HelpTest(unittest.TestCase):
    def test_lists_every_command_with_an_example(self):
        done = amc("--help")
        self.assertEqual(done.returncode, 0)
        for command in COMMANDS:
            self.assertIn(f"\n  amc {command}", done.stdout)

    def test_every_command_explains_itself_and_ends_with_an_example(self):
        for command in COMMANDS:
            done = amc(*command.split(), "--help")
            self.assertEqual(done.returncode, 0, command)
            self.assertRegex(done.stdout, rf"Example:\n  amc {command}[^\n]*\n*\Z")

    def test_starts_without_torch_in_milliseconds(self):
        libraries = subprocess.run(["ldd", AMC], stdout=subprocess.PIPE, text=True, check=True).stdout
        self.assertNotIn("torch", libraries)
        seconds = []
        for _ in range(10):
            start = time.perf_counter()
            amc("--help")
            seconds.append(time.perf_counter() - start)
        self.assertLess(min(seconds), 0.05)

    def test_an_unknown_command_is_named_with_the_nearest_one(self):
        for wrong, message in ((["bogus"], 'there is no command "bogus"\n'),
                               (["inpsect", "x"], 'there is no command "inpsect"; did you mean inspect\\?'),
                               (["help", "inpsect"], "did you mean inspect")):
            done = amc(*wrong)
            self.assertEqual(done.returncode, 2)
            self.assertRegex(done.stderr, message)

    def test_help_is_a_command_too(self):
        self.assertEqual(amc("help").stdout, amc("--help").stdout)
        for command in (["run"], ["data", "pack"]):
            self.assertEqual(amc("help", *command).stdout, amc(*command, "--help").stdout)

    def test_run_and_submit_state_defaults_and_ranges(self):
        for command in ("run", "submit"):
            text = amc(command, "--help").stdout
            for said in ("above 0 and at most 1", "default 200", "{l1,l2,energy,greedy}", "default greedy"):
                self.assertIn(said, text)

    def test_wrong_usage_exits_with_2(self):
        for args in ([], ["frobnicate"], ["eval"], ["eval", "m.onnx", "--data", "d", "--frob"], ["data"],
                     ["eval", "m.onnx", "--data", "d", "--split", "test"], ["prune", "m.onnx", "-o", "x"],
                     ["prune", "m.onnx", "--ratio", "2", "-o", "x"], ["run", "m.onnx", "-o", "x"],
                     ["run", "m.onnx", "--data", "d", "-o", "x", "--set", "search.nothing=1"],
                     ["run", "m.onnx", "--data", "d", "-o", "x", "--metric", "beauty"],
                     ["infer", "m.onnx", "--input", "x", "--output", "y", "--threads", "-1"],
                     ["train", "--arch", "foo", "--idx", "x", "-o", "y"], ["serve", "--address", "nonsense"],
                     ["worker", "--token", "x"], ["data", "pack", "--idx", "x", "--mean", "1", "-o", "y"],
                     ["history", "x", "--limit", "-1"], ["history", "x", "--min-top1", "89"]):
            done = amc(*args)
            self.assertEqual(done.returncode, 2, args)
            self.assertEqual(done.stdout, "")
            self.assertIn("--help", done.stderr)


class OfflineTest(TinyCase):
    def write(self, name, content):
        path = os.path.join(self.dir, name)
        with open(path, "w" if isinstance(content, str) else "wb") as file:
            file.write(content)
        return path

    def infer(self, model, images):
        np.save(f"{self.dir}/x.npy", images)
        self.ok("infer", model, "--input", f"{self.dir}/x.npy", "--output", f"{self.dir}/y.npy")
        return np.load(f"{self.dir}/y.npy")

    def test_inspect_lists_groups_and_costs(self):
        info = self.json("inspect", self.model)
        self.assertEqual(len(info["groups"]), 12)
        self.assertEqual(int(info["macs"]), sum(int(layer["cost"]["macs"]) for layer in info["layers"]))
        self.assertEqual(sorted(int(group["channels"]) for group in info["groups"]),
                         [16] * 5 + [32] * 4 + [64] * 3)
        for group in info["groups"]:
            self.assertTrue(group["axes"] and group["consumers"])
        text = self.ok("inspect", self.model, "--axes", "--layers")
        for group in info["groups"]:
            self.assertIn(group["name"], text)

    def test_policy_arithmetic_equals_what_prune_makes(self):
        groups = self.json("inspect", self.model)["groups"]
        keep = {group["name"]: max(1, int(group["channels"]) // 3) for group in groups}
        policy = self.write("policy.json", json.dumps({"keep": keep}))
        promised = self.json("inspect", self.model, "--policy", policy)["policy_cost"]
        made = self.json("prune", self.model, "--policy", policy, "-o", f"{self.dir}/small.onnx")
        counted = self.json("inspect", f"{self.dir}/small.onnx")
        self.assertEqual(made["pruned"], promised)
        self.assertEqual((counted["macs"], counted["params"]), (promised["macs"], promised["params"]))

    def test_a_policy_that_keeps_everything_changes_no_output(self):
        images = np.random.default_rng(1).normal(size=(5, 1, 16, 16)).astype(np.float32)
        policy = self.write("policy.json", '{"keep": {}}')
        self.ok("prune", self.model, "--policy", policy, "--data", self.pack, "-o", f"{self.dir}/same.onnx")
        np.testing.assert_array_equal(self.infer(f"{self.dir}/same.onnx", images),
                                      self.infer(self.model, images))

    def test_residual_paths_stay_whole_where_asked(self):
        groups = self.json("inspect", self.model)["groups"]
        self.assertTrue(any(group["residual"] for group in groups))
        made = self.json("prune", self.model, "--ratio", "0.5", "--residual-path", "keep", "-o", f"{self.dir}/small.onnx")
        for group, decision in zip(groups, made["policy"]["decisions"]):
            self.assertEqual(decision["kept"] == group["channels"], group["residual"], group["name"])

    def test_reconstruction_repairs_what_pruning_breaks(self):
        def top1(*method):
            self.ok("prune", self.model, "--ratio", "0.4", "--data", self.pack, "-o",
                    f"{self.dir}/small.onnx", *method)
            return self.json("eval", f"{self.dir}/small.onnx", "--data", self.pack)["measurement"]["top1"]
        broken = top1("--criterion", "l1", "--reconstruction", "none")
        self.assertGreater(top1("--reconstruction", "strong"), broken)

    def test_infer_refuses_what_is_no_float32_array_of_the_right_shape(self):
        good = np.zeros((2, 1, 16, 16), np.float32)
        cases = {"its elements are '<f8'": np.zeros((2, 1, 16, 16)),
                 "fortran_order is True": np.asfortranarray(np.zeros((2, 1, 16, 16), np.float32)),
                 "images of shape 2x16x16x1, but input": np.zeros((2, 16, 16, 1), np.float32),
                 "images of shape 0x1x16x16, but input": np.zeros((0, 1, 16, 16), np.float32)}
        output = ("--output", f"{self.dir}/y.npy")
        for message, array in cases.items():
            np.save(f"{self.dir}/bad.npy", array)
            self.fails(1, f"bad.npy: .*{message}", "infer", self.model, "--input", f"{self.dir}/bad.npy", *output)
        np.save(f"{self.dir}/good.npy", good)
        with open(f"{self.dir}/good.npy", "rb") as file:
            whole = file.read()
        for length in (0, 5, 9, 60, len(whole) - 1):
            cut = self.write("cut.npy", whole[:length])
            self.fails(1, "cut.npy: not a .npy", "infer", self.model, "--input", cut, *output)
        self.assertFalse(os.path.exists(f"{self.dir}/y.npy"))

    def test_init_writes_a_job_file_that_names_every_group(self):
        text = self.ok("init", self.model, "--data", self.pack)
        for group in self.json("inspect", self.model)["groups"]:
            self.assertIn(group["name"], text)
        self.ok("init", self.model, "--data", self.pack, "-o", f"{self.dir}/job.json")
        # Flags override the file; the paths in it are relative to it.
        self.ok("run", "--job", f"{self.dir}/job.json", "--episodes", 2, "--agent", "uniform",
                "-o", f"{self.dir}/out", cwd="/")

    def test_init_overwrites_only_by_force(self):
        path = self.write("job.json", "mine")
        self.fails(1, "job.json is there already\n--force", "init", self.model, "-o", path)
        with open(path) as file:
            self.assertEqual(file.read(), "mine")
        self.assertIn(f"wrote {path}; next: amc submit {path}", self.ok("init", self.model, "-o", path, "--force"))

    def test_output_that_is_lost_is_a_failure(self):
        for command in (["inspect", self.model], ["eval", self.model, "--data", self.pack], ["--help"]):
            with open("/dev/full", "w") as full:
                done = subprocess.run([AMC, *command], stdout=full, stderr=subprocess.PIPE, text=True, env=environment())
            self.assertEqual(done.returncode, 1, command)
            self.assertIn("No space left", done.stderr)

    def test_output_paths_are_checked_before_the_work(self):
        nowhere = f"{self.dir}/none/x"
        for command in (["train", "--arch", "resnet20", "--idx", self.idx, "-o", nowhere],
                        ["data", "pack", "--idx", self.idx, "-o", nowhere],
                        ["prune", self.model, "--ratio", "0.5", "-o", nowhere],
                        ["infer", self.model, "--input", "x.npy", "--output", nowhere]):
            start = time.monotonic()
            self.fails(1, "none does not exist", *command)
            self.assertLess(time.monotonic() - start, 0.5)

    def test_a_policy_error_blames_the_policy(self):
        policy = self.write("policy.json", '{"keep": {"nope": 3}}')
        self.fails(1, "policy.json: group nope", "inspect", self.model, "--policy", policy)

    def test_eval_near_chance_says_so(self):
        self.ok("data", "pack", "--idx", self.idx, "--reconstruction", 300, "--mean", "80", "--std", "0.001",
                "-o", f"{self.dir}/wrong.pack")
        for pack, said in ((f"{self.dir}/wrong.pack", True), (self.pack, False)):
            done = amc("eval", self.model, "--data", pack, "--split", "reward")
            self.assertEqual(done.returncode, 0)
            self.assertEqual("near chance" in done.stderr, said)
        self.assertIn("reward split has 150", amc("eval", self.model, "--data", self.pack, "--split", "reward",
                                                  "--limit", 9999).stderr)

    def test_finetune_takes_images_and_preprocessing_from_a_pack(self):
        done = amc("finetune", self.model, "--data", self.pack, "--epochs", 1, "--batch", 32, "--lr", "0.001",
                   "--no-flip", "--crop-padding", 0, "--threads", 1, "-o", f"{self.dir}/tuned.onnx")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stderr, rf"preprocessing: mean 0\.\d+, deviation 0\.\d+ \(of {self.pack}\)")
        self.assertIn("after 1 epoch in", done.stdout)
        self.fails(2, "has its own", "finetune", self.model, "--data", self.pack, "--mean", "0.5", "--std", "0.5",
                   "-o", f"{self.dir}/tuned.onnx")

    def test_ctrl_c_keeps_the_last_finished_epoch(self):
        run = Background(self.dir, "train", "finetune", self.model, "--data", self.pack, "--epochs", 5000, "--batch",
                         32, "--lr", "0.001", "--threads", 1, "-o", f"{self.dir}/tuned.onnx")
        run.wait_for("epoch 2/5000  loss")
        self.assertEqual(run.stop(signal.SIGINT), 130)
        self.assertRegex(run.output(), rf"interrupted after epoch \d+ of 5000; wrote it to {self.dir}/tuned.onnx")
        self.ok("eval", f"{self.dir}/tuned.onnx", "--data", self.pack, "--split", "reward")

    def test_finetune_goes_on_from_a_pruned_network(self):
        self.ok("prune", self.model, "--ratio", "0.5", "-o", f"{self.dir}/small.onnx")
        before = self.json("eval", f"{self.dir}/small.onnx", "--data", self.pack)["measurement"]["top1"]
        tuned = self.json("finetune", f"{self.dir}/small.onnx", "--idx", self.idx, "--epochs", 2, "--batch", 32,
                          "--lr", 0.02, "--no-flip", "--crop-padding", 0, "--threads", 1,
                          "-o", f"{self.dir}/tuned.onnx")
        self.assertGreater(tuned["top1"], before)



class EngineTest(unittest.TestCase):
    def test_computing_commands_get_the_environment_that_is_fast(self):
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(AMC, f"{folder}/amc")
            with open(f"{folder}/amc-engine", "w") as script:
                script.write("#!/bin/sh\necho \"$@\"\nenv\n")
            os.chmod(f"{folder}/amc-engine", 0o755)
            env = dict(environment(), OPENBLAS_CORETYPE="Haswell", OMP_NUM_THREADS="7")
            output = subprocess.run([f"{folder}/amc", "eval", "m.onnx", "--data", "d", "--threads", "3"],
                                    env=env, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
        self.assertEqual(output[0], "eval m.onnx --data d --threads 3")
        for setting in ("OMP_NUM_THREADS=3", "OPENBLAS_NUM_THREADS=3", "OMP_WAIT_POLICY=passive",
                        "GOMP_SPINCOUNT=0", "MALLOC_ARENA_MAX=1", "LC_ALL=C.UTF-8"):
            self.assertIn(setting, output)
        self.assertFalse([line for line in output if line.startswith("OPENBLAS_CORETYPE")])

    def test_says_where_it_looked_for_the_engine(self):
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(AMC, f"{folder}/amc")
            done = subprocess.run([f"{folder}/amc", "eval", "m.onnx", "--data", "d"], env=environment(),
                                  stderr=subprocess.PIPE, text=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"{folder}/amc-engine", done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
