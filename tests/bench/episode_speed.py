#!/usr/bin/python3
"""What an episode costs against PyTorch on the original network: same images, same threads, one run.

usage: episode_speed.py [--bin DIR] --data PACK [--model FILE] [--episodes N] [--images N] [--rounds N]

PyTorch: batch norm kept, channels_last, its best batch size of 32 to 512, default malloc, fp32, one thread, inference on
--images images of the original. Ours: whole episodes of `amc run` with one worker (choose, shrink, refit, recalibrate,
measure, learn, store), after the job's one-time preparation. Rounds alternate between the two. "Agent, store, RPCs" is
what an episode takes beyond its evaluation on the worker.
"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

TORCH = r"""
import sys, time
import torch
import onnx
from onnx import numpy_helper
torch.set_num_threads(1)
path, images = sys.argv[1], int(sys.argv[2])
sizes = [int(s) for s in sys.argv[3].split(",")]
graph = onnx.load(path).graph
weights = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in graph.initializer}
F = torch.nn.functional

class Net(torch.nn.Module):
    '''The graph as PyTorch modules, node by node.'''
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.ModuleDict()
        for i, node in enumerate(graph.node):
            a = {x.name: onnx.helper.get_attribute_value(x) for x in node.attribute}
            w = [weights.get(n) for n in node.input]
            if node.op_type == "Conv":
                m = torch.nn.Conv2d(w[1].shape[1] * a.get("group", 1), w[1].shape[0], w[1].shape[2:], a.get("strides", 1),
                                    a["pads"][:2], a.get("dilations", 1), a.get("group", 1), bias=len(w) > 2)
                m.weight.data = w[1]
                if len(w) > 2: m.bias.data = w[2]
                self.layers[str(i)] = m
            elif node.op_type == "BatchNormalization":
                m = torch.nn.BatchNorm2d(w[1].shape[0], a.get("epsilon", 1e-5))
                m.weight.data, m.bias.data, m.running_mean, m.running_var = w[1:5]
                self.layers[str(i)] = m
            elif node.op_type == "Gemm":
                m = torch.nn.Linear(w[1].shape[1], w[1].shape[0])
                m.weight.data, m.bias.data = w[1], w[2]
                self.layers[str(i)] = m
    def forward(self, x):
        values = {graph.input[0].name: x}
        for i, node in enumerate(graph.node):
            t = values.get(node.input[0])
            if str(i) in self.layers: y = self.layers[str(i)](t)
            elif node.op_type == "Relu": y = F.relu(t)
            elif node.op_type == "Add": y = t + values[node.input[1]]
            elif node.op_type == "Slice":
                s, e, ax = [weights[n].tolist() for n in node.input[1:4]]
                st = weights[node.input[4]].tolist() if len(node.input) > 4 else [1] * len(s)
                index = [slice(None)] * t.dim()
                for k in range(len(ax)): index[ax[k]] = slice(s[k], min(e[k], t.shape[ax[k]]), st[k])
                y = t[tuple(index)]
            elif node.op_type == "Pad":
                p = weights[node.input[1]].tolist()
                n = len(p) // 2
                flat = []
                for d in reversed(range(n)): flat += [p[d], p[d + n]]
                y = F.pad(t, flat)
            elif node.op_type in ("GlobalAveragePool", "ReduceMean", "AveragePool"):
                y = t.mean((2, 3), keepdim=node.op_type != "ReduceMean" or
                           not any(x.name == "keepdims" and x.i == 0 for x in node.attribute))
            elif node.op_type in ("Flatten", "Reshape"): y = t.flatten(1)
            elif node.op_type in ("Identity", "Constant"): y = t
            else: raise SystemExit("operator " + node.op_type + " is not in this script")
            values[node.output[0]] = y
        return y

net = Net().eval().to(memory_format=torch.channels_last)
shape = [d.dim_value for d in graph.input[0].type.tensor_type.shape.dim][1:]
best = None
with torch.inference_mode():
    for size in sizes:
        x = torch.randn(size, *shape).to(memory_format=torch.channels_last)
        net(x)
        count = max(1, images // size)
        start = time.perf_counter()
        for _ in range(count): net(x)
        seconds = (time.perf_counter() - start) * images / (count * size)
        if best is None or seconds < best[0]: best = (seconds, size)
print(best[0], best[1])
"""


def history(amc, folder, environment):
    """The episodes of the one job in a run's folder: a line of JSON each, with times."""
    return subprocess.run([amc, "history", "--dir", folder, "--json"], env=environment, capture_output=True, text=True,
                          check=True).stdout


def main():
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default=os.path.join(root, "build/release/bin"))
    parser.add_argument("--data", required=True)
    parser.add_argument("--model",
                        default=os.path.join(os.environ.get("AMC_TEST_DATA", ""), "models/resnet56-cifar10.onnx"))
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--episodes", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    amc = os.path.join(args.bin, "amc")
    environment = {k: v for k, v in os.environ.items() if k != "OPENBLAS_CORETYPE"}

    # The same network with the exporter's constant arithmetic folded away, so that the script above can read it.
    scratch = tempfile.TemporaryDirectory(prefix="amc-speed")
    plain = os.path.join(scratch.name, "plain.onnx")
    subprocess.run([amc, "prune", args.model, "--ratio", "1", "--criterion", "l1", "--reconstruction", "none", "-o", plain],
                   env=environment, stdout=subprocess.DEVNULL, check=True)

    theirs, whole, evaluation = [], [], []
    sizes = "32,64,128,256,512"
    for _ in range(args.rounds):
        done = subprocess.run(["/usr/bin/python3", "-c", TORCH, plain, str(args.images), sizes],
                              env={**environment, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
                              capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(done.stderr)
        seconds, size = done.stdout.split()
        sizes = size  # later rounds at the best batch size
        theirs.append(float(seconds))

        folder = tempfile.mkdtemp(prefix="amc-speed")
        try:
            # One warm-up episode, so that the others learn: 55 updates each.
            subprocess.run([amc, "run", args.model, "--data", args.data, "--budget", "0.5", "--agent", "ddpg-paper",
                            "--episodes", str(args.episodes + 2), "--parallel-episodes", "1", "--workers", "1",
                            "--reward-images", str(args.images), "--set", "search.ddpg.warmup_episodes=1",
                            "--report-images", "100", "--json", "-o", folder],
                           env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
            text = history(amc, folder, environment)
        finally:
            shutil.rmtree(folder)
        # The first episode prepares the job's statistics, the second is the first that learns.
        episodes = [json.loads(line) for line in text.splitlines()][1:]
        times = [int(e["commit_time_ms"]) / 1000 for e in episodes]
        whole += [b - a for a, b in zip(times, times[1:])]
        evaluation += [e["seconds"] for e in episodes[1:]]

    torch_s, ours_s = statistics.median(theirs), statistics.median(whole)
    overhead = 1 - statistics.median(e / w for e, w in zip(evaluation, whole))
    print(f"PyTorch, original, {args.images} images, batch {sizes}: {torch_s:.2f} s")
    print(f"amc, whole episode at 50% of the MACs: {ours_s:.2f} s, of which evaluation {statistics.median(evaluation):.2f} s")
    print(f"ratio {ours_s / torch_s:.3f} (target 0.75, aim 0.65)")
    print(f"agent, store, RPCs: {100 * overhead:.2f}% of an episode (target 3%)")


if __name__ == "__main__":
    main()
