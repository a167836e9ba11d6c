#!/usr/bin/python3
"""Other runtimes read what we write: ONNX Runtime and OpenCV must give our logits.

usage: consumers_test.py BIN_DIR OPENCV_RUN|none CONSUMERS_DIR REPOSITORY
Needs AMC_TEST_DATA for outside networks; with AMC_REQUIRE=1 a missing one, or a missing runtime, fails.
"""
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

import numpy as np

BIN, OPENCV_RUN, CONSUMERS, REPOSITORY = sys.argv[1:5]
REQUIRE = os.environ.get("AMC_REQUIRE") == "1"
DATA = os.environ.get("AMC_TEST_DATA")
ORT_RUN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "ort_run.mjs")


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(command)}\nexit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def missing(what):
    if REQUIRE:
        raise AssertionError(f"{what} is missing, and AMC_REQUIRE=1")
    raise unittest.SkipTest(f"{what} is missing")


def amc(*arguments):
    return run(os.path.join(BIN, "amc"), *arguments)


class ConsumersTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="amc-consumers")
        self.addCleanup(shutil.rmtree, self.folder)

    def path(self, name):
        return os.path.join(self.folder, name)

    def check(self, model, shape, runtimes=("ONNX Runtime", "OpenCV"), tolerance=1e-4):
        """Halves every group of `model` and compares the result in the runtimes on random images."""
        commands = {"ONNX Runtime": ["node", ORT_RUN, CONSUMERS], "OpenCV": [OPENCV_RUN]}
        amc("prune", model, "--ratio", "0.5", "--criterion", "l1", "--reconstruction", "none", "-o", self.path("p.onnx"))
        self.assertLess(os.path.getsize(self.path("p.onnx")), os.path.getsize(model))
        images = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        np.save(self.path("in.npy"), images)
        amc("infer", self.path("p.onnx"), "--input", self.path("in.npy"), "--output", self.path("ours.npy"))
        ours = np.load(self.path("ours.npy"))
        self.assertEqual(ours.shape[0], shape[0])
        self.assertGreater(np.abs(ours).max(), 0)
        for name in runtimes:
            run(*commands[name], self.path("p.onnx"), self.path("in.npy"), self.path("theirs.npy"))
            theirs = np.load(self.path("theirs.npy"))
            self.assertEqual(ours.shape, theirs.shape)
            error = np.abs(ours - theirs).max() / np.abs(theirs).max()
            print(f"{os.path.basename(model)} pruned, {name}: max|d| / max|logit| = {error:.2e}")
            self.assertLessEqual(error, tolerance, f"{model} pruned, in {name}")

    def shared(self, name):
        if not DATA:
            missing("AMC_TEST_DATA")
        return os.path.join(DATA, "models", name)

    def test_demo_network(self):
        self.check(os.path.join(REPOSITORY, "deploy/demo/resnet20-fashion.onnx"), (3, 1, 28, 28))

    def test_resnet20(self):
        self.check(self.shared("resnet20-cifar10.onnx"), (3, 3, 32, 32))

    def test_resnet56(self):
        self.check(self.shared("resnet56-cifar10.onnx"), (3, 3, 32, 32))

    def test_resnet56_folded(self):
        self.check(self.shared("resnet56-cifar10-folded.onnx"), (3, 3, 32, 32))

    def torchvision(self, name):
        """A network that PyTorch's own exporter wrote."""
        if not DATA:
            missing("AMC_TEST_DATA")
        run("/usr/bin/python3", os.path.join(DATA, "tools/export_torchvision.py"), self.folder, name)
        return self.path(name + ".onnx")

    def test_mobilenet_v2(self):
        # OpenCV 4.6 does not read Clip with three inputs, which the exporter writes from opset 11 on.
        self.check(self.torchvision("mobilenet_v2"), (2, 3, 224, 224), runtimes=("ONNX Runtime",))

    def test_squeezenet(self):
        self.check(self.torchvision("squeezenet1_0"), (2, 3, 224, 224))


def missing_runtime():
    if OPENCV_RUN == "none":
        return "OpenCV's dnn module was not there when the tests were configured (package libopencv-dnn-dev)"
    if not os.path.isdir(os.path.join(CONSUMERS, "node_modules", "onnxruntime-node")):
        return f"onnxruntime-node is not in {CONSUMERS} (deploy/test.sh installs it)"
    return None


if __name__ == "__main__":
    if missing_runtime():
        if REQUIRE:
            sys.exit(f"{missing_runtime()}, and AMC_REQUIRE=1")
        print(f"skipped: {missing_runtime()}")
        sys.exit(77)
    unittest.main(argv=sys.argv[:1], verbosity=2)
