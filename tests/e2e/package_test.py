"""Packages for sparse runtimes: written, read by others, checked, damaged."""
import json
import os
import struct
import subprocess
import unittest

import numpy as np
import onnx
import scipy.sparse
import torch
from onnx import numpy_helper

from amc_e2e import Background, TinyCase

TYPES = {"F32": "<f4", "F16": "<f2", "I64": "<i8", "I16": "<i2", "U8": "u1"}


def read_safetensors(path):
    """{name: array} and the metadata, by the format's own description."""
    with open(path, "rb") as file:
        data = file.read()
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8:8 + length])
    metadata = header.pop("__metadata__", {})
    arrays = {}
    for name, entry in header.items():
        first, end = entry["data_offsets"]
        arrays[name] = np.frombuffer(data[8 + length + first:8 + length + end], TYPES[entry["dtype"]]).reshape(entry["shape"])
    return arrays, metadata


def prune_two_of_four(source, target):
    """Zeroes, in every convolution that has 4 n input channels, the two smallest of each 4 neighbours."""
    model = onnx.load(source)
    weights = {}
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor).copy()
        if array.ndim == 4 and array.shape[1] % 4 == 0:
            grouped = array.reshape(array.shape[0], -1, 4, *array.shape[2:])
            small = np.argsort(np.abs(grouped), axis=2, kind="stable")[:, :, :2]
            np.put_along_axis(grouped, small, 0, axis=2)
            array = grouped.reshape(array.shape)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
        weights[tensor.name] = array
    onnx.save(model, target)
    return weights


class PackageTest(TinyCase):
    def setUp(self):
        super().setUp()
        self.sparse = f"{self.dir}/sparse.onnx"
        self.weights = prune_two_of_four(self.model, self.sparse)
        self.package = f"{self.dir}/package"

    def manifest(self):
        with open(f"{self.package}/manifest.json") as file:
            return json.load(file)

    def files_of(self, backend):
        """{weight's name: path} of the layers that a runtime takes."""
        return {layer["weight"]: f"{self.package}/{entry['file']}" for layer in self.manifest()["layers"]
                for entry in layer["backends"] if entry["name"] == backend and entry["eligible"]}

    def test_others_read_what_is_written(self):
        said = self.ok("package", self.sparse, "-o", self.package)
        self.assertRegex(said, r"(?m)^csr +20 of 20 +")
        self.assertRegex(said, r"(?m)^nvidia24 +18 of 20 +")
        listed = subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=self.package, capture_output=True, text=True, check=False)
        self.assertEqual(listed.returncode, 0, listed.stdout + listed.stderr)
        csr, nvidia = self.files_of("csr"), self.files_of("nvidia24")
        self.assertEqual(len(csr), 20)
        self.assertEqual(len(nvidia), 18)
        stored, _ = read_safetensors(f"{self.package}/weights.safetensors")
        rng = np.random.default_rng(0)
        for name, path in csr.items():
            weight = self.weights[name]
            np.testing.assert_array_equal(stored[name], weight)
            np.testing.assert_array_equal(stored[name + ".mask"], (weight != 0).astype("u1"))
            arrays, _ = read_safetensors(path)
            dense = weight.reshape(weight.shape[0], -1)
            matrix = scipy.sparse.csr_matrix((arrays["values"], arrays["col"], arrays["crow"]), shape=dense.shape)
            matrix.check_format()
            self.assertTrue(matrix.has_sorted_indices)
            np.testing.assert_array_equal(matrix.toarray(), dense)
            inputs = rng.standard_normal((dense.shape[1], 3)).astype(np.float32)
            by_torch = torch.sparse_csr_tensor(torch.from_numpy(arrays["crow"].copy()), torch.from_numpy(arrays["col"].copy()),
                                               torch.from_numpy(arrays["values"].copy()), dense.shape) @ torch.from_numpy(inputs)
            np.testing.assert_allclose(by_torch.numpy(), dense @ inputs, rtol=1e-4, atol=1e-4)
        for name, path in nvidia.items():
            arrays, _ = read_safetensors(path)
            np.testing.assert_array_equal(self.decode_nvidia24(arrays), self.channels_last(self.weights[name]).astype(np.float16))

    @staticmethod
    def channels_last(weight):
        return weight.transpose(0, 2, 3, 1).reshape(weight.shape[0], -1) if weight.ndim == 4 else weight

    @staticmethod
    def decode_nvidia24(arrays):
        """Values and 2-bit indices, four groups of four a 16-bit word, the first lowest."""
        values = arrays["values"].view(np.float16)
        rows, half = values.shape
        words = arrays["metadata"].view(np.uint16).reshape(rows, -1)
        dense = np.zeros((rows, 2 * half), np.float16)
        for row in range(rows):
            for group in range(half // 2):
                nibble = int(words[row, group // 4]) >> 4 * (group % 4) & 15
                for i, index in enumerate((nibble & 3, nibble >> 2)):
                    dense[row, 4 * group + index] = values[row, 2 * group + i]
        return dense

    def test_the_self_test_is_what_the_network_gives(self):
        self.ok("package", self.sparse, "--format", "csr", "--data", self.pack, "-o", self.package)
        self.ok("infer", f"{self.package}/model.onnx", "--input", f"{self.package}/io/input.npy", "--output", f"{self.dir}/y.npy")
        np.testing.assert_allclose(np.load(f"{self.dir}/y.npy"), np.load(f"{self.package}/io/expected.npy"), rtol=1e-4, atol=1e-4)
        self.assertEqual(os.listdir(f"{self.package}/csr")[0][3:4], "-")
        self.assertEqual([entry["name"] for entry in self.manifest()["layers"][0]["backends"]], ["csr"])

    def test_verify_says_what_is_wrong_and_where(self):
        self.ok("package", self.sparse, "--format", "csr,eie", "-o", self.package)
        self.assertIn("40 files of layers read, compared with model.onnx and run; self-test passed", self.ok("verify", self.package))
        self.assertTrue(self.json("verify", self.package)["ok"])
        name = os.path.relpath(next(iter(self.files_of("csr").values())), self.package)
        path = f"{self.package}/{name}"
        with open(path, "r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.truncate()
        size = os.path.getsize(path)
        self.fails(1, rf"is no good package:\n +{name}: ends at byte {size} of {size + 1}", "verify", self.package)
        self.fails(1, "is no folder", "verify", f"{self.dir}/nothing")

    def test_wrong_usage_is_said_before_anything_is_written(self):
        self.fails(2, 'there is no backend "coo"; there are csr, ', "package", self.sparse, "--format", "coo", "-o", self.package)
        self.assertFalse(os.path.exists(self.package))
        os.mkdir(self.package)
        self.fails(1, "is there already", "package", self.sparse, "-o", self.package)
        self.fails(1, "no such file|No such file", "package", f"{self.dir}/none.onnx", "-o", f"{self.dir}/p2")
        self.fails(2, "--data is what a package's self-test takes", "export", "j", "-o", f"{self.dir}/p3", "--data", self.pack)

    def test_a_jobs_result_is_exported_as_a_package(self):
        self.ok("run", self.model, "--data", self.pack, "--agent", "uniform", "--episodes", 1, "--budget", 0.5, "-o", f"{self.dir}/out")
        best = self.json("best", "--dir", f"{self.dir}/out")
        server = Background(self.dir, "server", "serve", "--address", "127.0.0.1:0", "--data-folder", f"{self.dir}/out/.amc/data")
        self.addCleanup(server.stop)
        server.wait_for("listening on ")
        address = server.output().split("listening on ")[1].split()[0]
        self.ok("export", best["episode"]["job"], "--server", address, "--format", "csr", "-o", self.package)
        manifest = self.manifest()
        self.assertEqual(manifest["job"], best["episode"]["job"])
        self.assertEqual(manifest["keep"], {step["group"]: int(step["kept"]) for step in best["result"]["steps"]})
        self.assertIn("self-test passed", self.ok("verify", self.package))


if __name__ == "__main__":
    unittest.main(verbosity=2)
