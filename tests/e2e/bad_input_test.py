"""Bad input: each case has a clear message, the right exit code, and loses nothing."""
import os
import resource
import shutil
import signal
import sqlite3
import struct
import subprocess
import time
import unittest

import numpy as np

from amc_e2e import TinyCase, amc, write_idx

try:
    import onnx
    from onnx import TensorProto, helper
except ImportError:
    onnx = None


class BadModelTest(TinyCase):
    def setUp(self):
        super().setUp()
        if onnx is None:
            self.skip_or_fail("python3-onnx")

    def save(self, nodes, weights=(), name="bad.onnx", outputs=("y",), image=(1, 16, 16), recorded=()):
        graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *image])],
                                  [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
                                   for output in outputs], list(weights), value_info=recorded)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
        model.ir_version = 7
        path = os.path.join(self.dir, name)
        with open(path, "wb") as file:
            file.write(model.SerializeToString())
        return path

    def refused(self, path, message):
        """Every command that reads a model refuses it, naming the file."""
        for command in (["inspect", path], ["eval", path, "--data", self.pack],
                        ["prune", path, "--ratio", "0.5", "-o", f"{self.dir}/out.onnx"], ["init", path],
                        ["infer", path, "--input", "x.npy", "--output", f"{self.dir}/y.npy"]):
            self.fails(1, f"{os.path.basename(path)}: .*{message}", *command)
        self.assertFalse(os.path.exists(f"{self.dir}/out.onnx"))

    def test_truncated(self):
        with open(self.model, "rb") as file:
            whole = file.read()
        for length in (0, 1, 100, len(whole) // 2, len(whole) - 1):
            path = os.path.join(self.dir, "cut.onnx")
            with open(path, "wb") as file:
                file.write(whole[:length])
            self.refused(path, "")

    def test_not_onnx_missing_or_a_folder(self):
        path = os.path.join(self.dir, "text.onnx")
        with open(path, "w") as file:
            file.write("this is no network\n" * 100)
        self.refused(path, "")
        self.fails(1, "none.onnx: No such file", "inspect", f"{self.dir}/none.onnx")
        self.fails(1, "directory", "inspect", self.dir)

    def test_unknown_operator(self):
        conv = helper.make_node("Conv", ["x", "w"], ["h"], name="conv", pads=[1, 1, 1, 1])
        mystery = helper.make_node("Mystery", ["h"], ["y"], name="riddle", domain="example")
        weight = helper.make_tensor("w", TensorProto.FLOAT, [4, 1, 3, 3], np.zeros(36, np.float32))
        path = self.save([conv, mystery], [weight])
        # It can be looked at: the channels that the operator reads stay whole.
        done = amc("inspect", path)
        self.assertRegex(done.stdout + done.stderr, "Mystery")
        self.fails(1, "Mystery", "eval", path, "--data", self.pack)

    def test_cyclic(self):
        nodes = [helper.make_node("Add", ["x", "b"], ["a"], name="first"),
                 helper.make_node("Relu", ["a"], ["b"], name="second"),
                 helper.make_node("Relu", ["b"], ["y"], name="third")]
        self.refused(self.save(nodes), "[Cc]ycl")

    def test_weight_whose_size_contradicts_its_shape(self):
        conv = helper.make_node("Conv", ["x", "w"], ["y"], name="conv")
        weight = helper.make_tensor("w", TensorProto.FLOAT, [4, 1, 3, 3], np.zeros(36, np.float32).tobytes(), raw=True)
        weight.raw_data = weight.raw_data[:-4]
        self.refused(self.save([conv], [weight]), "w")

    def test_a_dimension_of_ten_billion(self):
        conv = helper.make_node("Conv", ["x", "w"], ["y"], name="conv")
        weight = helper.make_tensor("w", TensorProto.FLOAT, [4, 1, 3, 3], np.zeros(36, np.float32).tobytes(), raw=True)
        weight.dims[0] = 10 * 1000 ** 3
        self.refused(self.save([conv], [weight]), "10000000000")

    def test_ten_billion_channels_without_weights(self):
        relu = helper.make_node("Relu", ["x"], ["y"], name="relu")
        wide = self.save([relu], name="wide.onnx", image=(10 * 1000 ** 3, 1, 1))
        mystery = helper.make_node("Mystery", ["x"], ["h"], name="riddle", domain="example")
        relu = helper.make_node("Relu", ["h"], ["y"], name="relu")
        recorded = helper.make_tensor_value_info("h", TensorProto.FLOAT, [1, 10 * 1000 ** 3])
        unknown = self.save([mystery, relu], name="unknown.onnx", recorded=[recorded])
        def limit():
            resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
        for path, tensor in ((wide, "x"), (unknown, "h")):
            start = time.monotonic()
            self.fails(1, f"{os.path.basename(path)}: .*tensor {tensor} .*10000000000.*at most", "inspect", path,
                       preexec_fn=limit)
            self.assertLess(time.monotonic() - start, 5)


class BadDataTest(TinyCase):
    def pack_fails(self, message, *source):
        self.fails(1, message, "data", "pack", *source, "-o", f"{self.dir}/out.pack")
        self.assertFalse(os.path.exists(f"{self.dir}/out.pack"))

    def test_empty_folder(self):
        empty = os.path.join(self.dir, "empty")
        os.makedirs(empty)
        for kind in ("--images", "--idx", "--cifar"):
            self.pack_fails("empty", kind, empty)
        self.pack_fails("nowhere", "--images", f"{self.dir}/nowhere")

    def test_corrupt_jpeg(self):
        for split in ("train", "test"):
            for label in ("cat", "dog"):
                os.makedirs(f"{self.dir}/images/{split}/{label}")
                for i in range(4):
                    with open(f"{self.dir}/images/{split}/{label}/{i}.jpg", "wb") as file:
                        file.write(b"\xff\xd8\xff\xe0" + b"no picture" * 10)
        self.pack_fails(r"0\.jpg", "--images", f"{self.dir}/images")

    def test_label_out_of_range(self):
        cifar = f"{self.dir}/cifar"
        os.makedirs(cifar)
        for name in [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]:
            with open(f"{cifar}/{name}", "wb") as file:
                file.write((bytes([3]) + bytes(3072)) * 2 + bytes([77]) + bytes(3072))
        self.pack_fails(r"data_batch_1\.bin.*77", "--cifar", cifar)

    def test_labels_that_the_network_does_not_have(self):
        shutil.copytree(self.idx, f"{self.dir}/idx")
        labels = np.arange(600) % 9
        with open(f"{self.dir}/idx/train-labels-idx1-ubyte", "wb") as file:
            file.write(struct.pack(">II", 0x801, 600) + labels.astype(np.uint8).tobytes())
        with open(f"{self.dir}/idx/t10k-labels-idx1-ubyte", "wb") as file:
            file.write(struct.pack(">II", 0x801, 300) + labels[:300].astype(np.uint8).tobytes())
        self.ok("data", "pack", "--idx", f"{self.dir}/idx", "--reconstruction", 300, "-o", f"{self.dir}/nine.pack")
        self.fails(1, "9.*4|4.*9", "eval", self.model, "--data", f"{self.dir}/nine.pack")
        self.fails(1, "9.*4|4.*9", "run", self.model, "--data", f"{self.dir}/nine.pack", "--budget", "0.5",
                   "-o", f"{self.dir}/out")

    def test_truncated_and_inconsistent_idx(self):
        shutil.copytree(self.idx, f"{self.dir}/idx")
        path = f"{self.dir}/idx/train-images-idx3-ubyte"
        with open(path, "r+b") as file:
            file.truncate(1000)
        self.pack_fails("train-images-idx3-ubyte", "--idx", f"{self.dir}/idx")

    def test_damaged_pack(self):
        with open(self.pack, "rb") as file:
            whole = file.read()
        for length in (0, 8, 100, len(whole) - 1):
            with open(f"{self.dir}/cut.pack", "wb") as file:
                file.write(whole[:length])
            self.fails(1, "cut.pack", "eval", self.model, "--data", f"{self.dir}/cut.pack")


class BadSearchTest(TinyCase):
    def run_fails(self, message, *args, pack=None, **kwargs):
        return self.fails(1, message, "run", self.model, "--data", pack or self.pack, "--episodes", 2, "-o",
                          f"{self.dir}/out", *args, **kwargs)

    def test_wrong_preprocessing_leaves_the_baseline_near_chance(self):
        self.ok("data", "pack", "--idx", self.idx, "--reconstruction", 300, "--mean", "80", "--std", "0.001",
                "-o", f"{self.dir}/wrong.pack")
        said = self.run_fails("commonest class", "--budget", "0.5", pack=f"{self.dir}/wrong.pack")
        self.assertRegex(said, "preprocessing|mean")
        self.ok("run", self.model, "--data", f"{self.dir}/wrong.pack", "--episodes", 2, "--agent", "uniform",
                "--budget", "0.5", "-o", f"{self.dir}/out2", "--allow-weak-baseline")

    def test_unreachable_budget(self):
        minimum = int(self.json("inspect", self.model)["minimum_macs"])
        self.run_fails(str(minimum), "--budget", "0.001")

    def test_full_disk(self):
        # A disk as small as the model allows nothing to be stored on it; files cannot grow past the limit.
        def limit():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, 64 * 1024))
        self.fails(1, "out.onnx", "prune", self.model, "--ratio", "0.9", "-o", f"{self.dir}/out.onnx",
                   preexec_fn=limit)
        self.assertEqual(os.listdir(self.dir), [])

    def test_full_disk_in_mid_search_loses_nothing(self):
        disk = f"{self.dir}/disk"
        os.makedirs(disk)
        if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", disk]).returncode:
            self.skipTest("a small disk needs root and the right to mount")
        try:
            search = ["run", self.model, "--data", self.pack, "--budget", "0.5", "--agent", "ddpg-paper", "--episodes", 40, "-o",
                      f"{disk}/out"]
            self.fails(1, "[Nn]o space|full", *search)
            subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
            self.ok(*search)
        finally:
            subprocess.run(["umount", "-l", disk], check=True)

    def test_database_of_a_newer_version(self):
        self.ok("run", self.model, "--data", self.pack, "--budget", "0.5", "--episodes", 2, "--agent", "uniform",
                "-o", f"{self.dir}/out")
        database = f"{self.dir}/out/.amc/data/amc.db"
        connection = sqlite3.connect(database)
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        connection.execute(f"PRAGMA user_version = {version + 1000}")
        connection.close()
        self.run_fails(f"{version + 1000}", "--budget", "0.5", "--agent", "uniform")
        connection = sqlite3.connect(database)
        self.assertEqual(connection.execute("SELECT count(*) FROM jobs").fetchone()[0], 1)
        connection.close()

    def test_files_that_cannot_be_read_or_written(self):
        self.run_fails("none.pack", "--budget", "0.5", pack=f"{self.dir}/none.pack")
        self.fails(1, "none.json", "prune", self.model, "--policy", f"{self.dir}/none.json", "-o", f"{self.dir}/x")
        with open(f"{self.dir}/broken.json", "w") as file:
            file.write('{"keep": {"conv1": ')
        self.fails(1, "broken.json: not the JSON", "prune", self.model, "--policy", f"{self.dir}/broken.json", "-o",
                   f"{self.dir}/x")
        with open(f"{self.dir}/file", "w") as file:
            file.write("no folder")
        self.fails(1, f"{self.dir}/file", "run", self.model, "--data", self.pack, "--budget", "0.5", "-o",
                   f"{self.dir}/file/out")
        self.fails(1, "missing/x.onnx", "prune", self.model, "--ratio", "0.5", "-o", f"{self.dir}/missing/x.onnx")


if __name__ == "__main__":
    unittest.main(verbosity=2)
