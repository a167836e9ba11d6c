#!/usr/bin/python3
"""How long a package of VGG-16 takes to write and to verify: of each format alone, then of all.

usage: package_speed.py [--bin DIR] [--size 32,224] [--density D] [--seed N] [--formats A,B] [--threads N]

Makes VGG-16 (Simonyan and Zisserman 2015, configuration D, batch norm folded) for images of 32 x 32 (one linear layer: 14.7
million weights) and of 224 x 224 (three: 138 million), weights He-normal. Of every four neighbouring inputs at most the two
largest weights are kept, so that nvidia24 takes the layers too, and of these the largest up to the density.

Seconds are of `amc package` and `amc verify`: wall time, and CPU time of all threads, the kernel's apart. Every package has
the model, weights.safetensors, self-test and digests too: xnnpack, which takes no layer of VGG-16, shows what these cost.
"""
import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnx
from onnx import TensorProto, helper

FORMATS = "csr,csc,bsr,nvidia24,eie,cambricon_x,cnvlutin,torchsparse,xnnpack"
CHANNELS = [64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0]  # 0: pooling


def two_of_four(weights):
    """`weights` (outputs, inputs, ...) with the two smaller ones of every four neighbouring inputs zeroed."""
    outputs, inputs = weights.shape[:2]
    if inputs % 4:
        return weights
    groups = np.abs(weights).reshape(outputs, inputs // 4, 4, -1)
    order = np.argsort(groups, axis=2)
    keep = np.ones(groups.shape, bool)
    np.put_along_axis(keep, order[:, :, :2], False, axis=2)
    return weights * keep.reshape(weights.shape)


def prune(weights, density):
    weights = two_of_four(weights)
    magnitudes = np.abs(weights).ravel()
    kept = int(density * magnitudes.size)
    least = np.partition(magnitudes, magnitudes.size - kept)[magnitudes.size - kept]
    weights[np.abs(weights) < least] = 0
    return weights


def write_vgg16(path, size, density, seed):
    random = np.random.default_rng(seed)
    nodes, tensors = [], []

    def weighted(op, outputs, shape, **attributes):
        index = len(nodes)
        fan_in = int(np.prod(shape[1:]))
        weights = random.standard_normal(shape, dtype=np.float32) * np.float32((2 / fan_in) ** 0.5)
        weights = prune(weights, density)
        tensors.append(helper.make_tensor(f"w{index}", TensorProto.FLOAT, shape, weights.tobytes(), raw=True))
        tensors.append(helper.make_tensor(f"b{index}", TensorProto.FLOAT, [outputs], np.zeros(outputs, np.float32)))
        add(op, [f"w{index}", f"b{index}"], **attributes)

    def add(op, more=(), **attributes):
        source = f"x{len(nodes)}" if nodes else "input"
        nodes.append(helper.make_node(op, [source, *more], [f"x{len(nodes) + 1}"], **attributes))

    inputs, edge = 3, size
    for channels in CHANNELS:
        if channels == 0:
            add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
            edge //= 2
            continue
        weighted("Conv", channels, [channels, inputs, 3, 3], kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        add("Relu")
        inputs = channels
    add("Flatten")
    inputs *= edge * edge
    for outputs in [10] if size < 64 else [4096, 4096, 1000]:
        weighted("Gemm", outputs, [outputs, inputs], transB=1)
        if outputs == 4096:
            add("Relu")
        inputs = outputs
    last = nodes[-1].output[0]
    graph = helper.make_graph(
        nodes, "vgg16", [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, size, size])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, ["N", inputs])], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)


def timed(command):
    """Wall, user and system seconds of a command and its children."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return wall, after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime


def main():
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default=os.path.join(root, "build/release/bin"))
    parser.add_argument("--size", default="32,224")
    parser.add_argument("--density", type=float, default=0.3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--formats", default=FORMATS, help="those that are timed alone; all of them are timed together")
    parser.add_argument("--threads", default="0")
    args = parser.parse_args()
    amc = os.path.join(args.bin, "amc")

    for size in map(int, args.size.split(",")):
        with tempfile.TemporaryDirectory(prefix="amc-package-speed") as scratch:
            model, package = os.path.join(scratch, "vgg16.onnx"), os.path.join(scratch, "package")
            write_vgg16(model, size, args.density, args.seed)
            print(f"VGG-16, {size} x {size}, density {args.density}")
            print(f"{'':<12} {'':>7} {'package':>21} {'verify':>21}")
            print(f"{'formats':<12} {'MB':>7}" + f" {'wall':>7} {'user':>6} {'system':>6}" * 2)
            for formats in [f for f in args.formats.split(",") if f] + [FORMATS]:
                wrote = timed([amc, "package", model, "--format", formats, "--threads", args.threads, "-o", package])
                bytes_ = sum(os.path.getsize(os.path.join(folder, f)) for folder, _, files in os.walk(package)
                             for f in files)
                verified = timed([amc, "verify", package, "--threads", args.threads])
                shutil.rmtree(package)
                name = "all" if formats == FORMATS else formats
                print(f"{name:<12} {bytes_ / 1e6:>7.1f}" +
                      "".join(f" {t[0]:>7.1f} {t[1]:>6.1f} {t[2]:>6.1f}" for t in (wrote, verified)), flush=True)


if __name__ == "__main__":
    main()
