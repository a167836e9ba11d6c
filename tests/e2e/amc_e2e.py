"""What the end-to-end tests share: the built binaries, a tiny data set and a network trained on it.

AMC_BIN names the folder of `amc` and `amc-engine`. Everything else is made here, in temporary folders.
"""
import json
import os
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest

import numpy as np

BIN = os.environ.get("AMC_BIN", os.path.join(os.path.dirname(__file__), "../../build/release/bin"))
AMC = os.path.abspath(os.path.join(BIN, "amc"))
TIMEOUT = 120  # seconds that any one command may take


def environment():
    env = dict(os.environ, LC_ALL="C.UTF-8")
    for name in ("AMC_SERVER", "AMC_TOKEN"):
        env.pop(name, None)
    return env


def amc(*args, **kwargs):
    """Runs `amc ARGS`; returns the CompletedProcess with text output."""
    return subprocess.run([AMC, *map(str, args)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=TIMEOUT,
                          env=kwargs.pop("env", None) or environment(), **kwargs)


def write_idx(folder, images, labels, name):
    with open(f"{folder}/{name}-images-idx3-ubyte", "wb") as file:
        file.write(struct.pack(">IIII", 0x803, *images.shape) + images.astype(np.uint8).tobytes())
    with open(f"{folder}/{name}-labels-idx1-ubyte", "wb") as file:
        file.write(struct.pack(">II", 0x801, len(labels)) + labels.astype(np.uint8).tobytes())


def write_tiny_data(folder, size=16, classes=4):
    """IDX files of noisy 4x4 patterns, one pattern a class: learnt in a second."""
    os.makedirs(folder)
    rng = np.random.default_rng(0)
    patterns = rng.normal(size=(classes, 4, 4))
    for name, count in (("train", 600), ("t10k", 300)):
        labels = rng.permutation(np.arange(count) % classes)
        clean = np.kron(patterns[labels], np.ones((size // 4, size // 4)))
        images = np.clip(128 + 40 * clean + rng.normal(size=clean.shape) * 40, 0, 255)
        write_idx(folder, images, labels, name)


def wait_until(condition, seconds=60, what="a condition"):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        result = condition()
        if result:
            return result
        time.sleep(0.05)
    raise AssertionError(f"waited {seconds} s in vain for {what}")


class Background:
    """A command that runs while the test does something else; its output goes to a file."""

    def __init__(self, folder, name, *args, **kwargs):
        self.path = os.path.join(folder, name + ".out")
        self.file = open(self.path, "w")
        self.process = subprocess.Popen([AMC, *map(str, args)], stdin=subprocess.DEVNULL,
                                        stdout=self.file, stderr=subprocess.STDOUT,
                                        env=environment(), start_new_session=True, **kwargs)

    def output(self):
        with open(self.path) as file:
            return file.read()

    def wait_for(self, text, seconds=60):
        def seen():
            if text in self.output():
                return True
            if self.process.poll() is not None:
                raise AssertionError(f"ended with {self.process.returncode}:\n{self.output()}")
            return False
        wait_until(seen, seconds, f"{text!r} in\n{self.output()}")

    def stop(self, sig=signal.SIGTERM, seconds=30):
        """Sends a signal and returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(sig)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        finally:
            self.file.close()


class TinyCase(unittest.TestCase):
    """A test with a folder of its own and, made once a module, a trained network and a data pack."""

    @classmethod
    def setUpClass(cls):
        shared = getattr(sys.modules["amc_e2e"], "_shared", None)
        if shared is None:
            shared = tempfile.TemporaryDirectory(prefix="amc-e2e")
            sys.modules["amc_e2e"]._shared = shared
            write_tiny_data(f"{shared.name}/idx")
            for command in (["train", "--arch", "resnet20", "--idx", f"{shared.name}/idx", "--epochs", 3,
                             "--batch", 32, "--lr", 0.05, "--no-flip", "--crop-padding", 0, "--threads", 1,
                             "-o", f"{shared.name}/model.onnx"],
                            ["data", "pack", "--idx", f"{shared.name}/idx", "--reconstruction", 300,
                             "-o", f"{shared.name}/data.pack"]):
                done = amc(*command)
                assert done.returncode == 0, done.stderr
        cls.idx = f"{shared.name}/idx"
        cls.model = f"{shared.name}/model.onnx"
        cls.pack = f"{shared.name}/data.pack"

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="amc-e2e")
        self.addCleanup(folder.cleanup)
        self.dir = folder.name

    def ok(self, *args, **kwargs):
        """Runs a command that must succeed; returns its stdout."""
        done = amc(*args, **kwargs)
        self.assertEqual(done.returncode, 0, f"amc {' '.join(map(str, args))}\n{done.stderr}")
        return done.stdout

    def json(self, *args):
        return json.loads(self.ok(*args, "--json"))

    def fails(self, code, message, *args, **kwargs):
        """Runs a command that must exit with `code` and say `message` (a regular expression)."""
        done = amc(*args, **kwargs)
        said = f"amc {' '.join(map(str, args))}\n{done.stdout}{done.stderr}"
        self.assertEqual(done.returncode, code, said)
        self.assertRegex(done.stderr, r"(?m)^amc", said)
        self.assertRegex(done.stderr, message)
        return done.stderr

    def skip_or_fail(self, missing):
        if os.environ.get("AMC_REQUIRE") == "1":
            self.fail(f"{missing} is missing, and AMC_REQUIRE=1")
        self.skipTest(f"{missing} is missing")
