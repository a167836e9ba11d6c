#!/usr/bin/python3
"""The table of docs/search.md: agents at equal cost on three networks at two budgets.

usage: search_comparison.py [--bin DIR] [--out DIR] [--rows resnet56-0.5,...] [--agents A,B:40,...] [--seeds N] [--workers N]
                            [--show]

Every row is an `amc compare` in a folder of its own, so the same command after an interruption goes on where it stopped and
finished searches are read back. All of it takes hours: --rows and --seeds make parts, --show prints what is there. ResNets
and CIFAR-10 come from AMC_TEST_DATA, the VGG-like network from deploy/demo.
"""
import argparse
import json
import os
import subprocess
import sys

from packs import pack_cifar, pack_fashion

ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
AGENTS = "hybrid,hybrid:40,dp,sensitivity,stages,uniform,evolution,ddpg,random:400,ddpg-paper:400"
NETWORKS = ["resnet56", "resnet20", "vgg-small"]
# What a full evaluation is: 1,000 reward images. Probes and screenings look at a quarter of them.
SETTINGS = ["--reward-images", "1000", "--probe-images", "250", "--screening-images", "250", "--episodes", "200"]


def inputs(network, amc, out):
    if network == "vgg-small":
        return os.path.join(ROOT, "deploy/demo/vgg-small-fashion.onnx"), pack_fashion(amc, out)
    data = os.environ.get("AMC_TEST_DATA") or sys.exit("set AMC_TEST_DATA")
    return os.path.join(data, f"models/{network}-cifar10.onnx"), pack_cifar(amc, out)


def interval(value, scale=1.0, digits=3):
    return f"{scale * value['mean']:+.{digits}f} ({scale * value['low']:+.{digits}f} to {scale * value['high']:+.{digits}f})"


def show(row, found):
    """A Markdown table: each agent, and how the first one differs from it."""
    first = found["agents"][0]["agent"]
    differences = {d["other"]: d for d in found["differences"]}
    print(f"\n### {row} of the MACs ({found['images']} report images)\n")
    print(f"| agent | seeds | evaluations | reward | top-1 drop | KL | {first} minus it: KL (95%) | top-1 points (95%) |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for agent in found["agents"]:
        difference = differences.get(agent["agent"])
        kl = interval(difference["kl"], digits=4) if difference else ""
        top1 = interval(difference["top1"], digits=2) if difference else ""
        print(f"| {agent['agent']} | {len(agent['runs'])} | {agent['spent']:.1f} | {agent['reward']:.4f} "
              f"| {agent['top1_drop']['mean']:.2f} | {agent['kl']['mean']:.4f} | {kl} | {top1} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default=os.path.join(ROOT, "build/release/bin"))
    parser.add_argument("--out", default=os.path.join(ROOT, "out/search_comparison"))
    parser.add_argument("--rows", default=",".join(f"{n}-{b}" for b in ("0.5", "0.3") for n in NETWORKS))
    parser.add_argument("--agents", default=AGENTS)
    parser.add_argument("--seeds", default="5")
    parser.add_argument("--workers", default="2")
    parser.add_argument("--show", action="store_true", help="print what is there and compute nothing")
    args = parser.parse_args()
    amc = os.path.join(args.bin, "amc")
    os.makedirs(args.out, exist_ok=True)
    for row in args.rows.split(","):
        network, budget = row.rsplit("-", 1)
        folder = os.path.join(args.out, row)
        if not args.show:
            model, data = inputs(network, amc, args.out)
            done = subprocess.run([amc, "compare", model, "--data", data, "--budget", budget, "--agents", args.agents, "--seeds",
                                   args.seeds, "--workers", args.workers, *SETTINGS, "-o", folder],
                                  stdout=subprocess.DEVNULL, check=False)
            if done.returncode != 0:
                sys.exit(f"{row}: exit code {done.returncode}; the same command goes on from here")
        table = os.path.join(folder, "compare.json")
        if os.path.exists(table):
            with open(table) as file:
                show(row, json.load(file))


if __name__ == "__main__":
    main()
