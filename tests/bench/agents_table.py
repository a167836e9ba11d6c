#!/usr/bin/python3
"""Agents side by side on one network at one budget, by default ResNet-56 at 50% of its MACs.

usage: agents_table.py [--bin DIR] [--model FILE] [--data PACK] [--out DIR] [--agents A,B] [--seeds N]
                       [--episodes N] [--budget R] [--workers N]

Every cell is one `amc run` in a folder of its own, so the same command after an interruption goes on where it stopped, and
finished cells are read back. With AMC_TEST_DATA and without --data, packs that folder's CIFAR-10 first: 5,000
reconstruction images from train/, 5,000 reward and 5,000 report images from test/.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys


def run(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}")
    return done.stdout


def pack_cifar(amc, out):
    """Unpacks and packs the outside CIFAR-10 images once."""
    data = os.environ.get("AMC_TEST_DATA") or sys.exit("give --data PACK, or set AMC_TEST_DATA")
    pack = os.path.join(out, "cifar10.pack")
    if not os.path.exists(pack):
        images = os.path.join(out, "cifar10")
        if not os.path.isdir(images):
            os.makedirs(images + ".part", exist_ok=True)
            run("tar", "xf", os.path.join(data, "data/cifar10-jpeg.tar.xz"), "-C", images + ".part")
            os.rename(images + ".part", images)
        run(amc, "data", "pack", "--images", images, "--mean", "0.485", "0.456", "0.406", "--std", "0.229", "0.224", "0.225",
            "--reconstruction", "5000", "--reward", "5000", "--report", "5000", "-o", pack)
    return pack


def main():
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default=os.path.join(root, "build/release/bin"))
    parser.add_argument("--model")
    parser.add_argument("--data")
    parser.add_argument("--out", default=os.path.join(root, "out/agents_table"))
    parser.add_argument("--agents", default="ddpg-paper,uniform,random")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--budget", default="0.5")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    amc = os.path.join(args.bin, "amc")
    os.makedirs(args.out, exist_ok=True)
    model = args.model or os.path.join(os.environ.get("AMC_TEST_DATA", ""), "models/resnet56-cifar10.onnx")
    data = args.data or pack_cifar(amc, args.out)

    # Seed by seed, so that an interrupted table has whole rows of agents to compare.
    cells = {}
    for seed in range(args.seeds):
        for agent in args.agents.split(","):
            folder = os.path.join(args.out, f"{agent}-{args.budget}-{seed}")
            text = run(amc, "run", model, "--data", data, "--budget", args.budget, "--agent", agent, "--seed", str(seed),
                       "--episodes", str(args.episodes), "--workers", str(args.workers), "--json", "-o", folder)
            cells[agent, seed] = json.loads(text)
            result = cells[agent, seed]
            print(f"{agent} seed {seed}: {100 * result['compressed']['top1']:.2f}%", file=sys.stderr, flush=True)

    print(f"{os.path.basename(model)}, {args.budget} of MACs, {args.episodes} evaluations, report split\n")
    print(f"{'agent':<12} {'seed':>4} {'MACs':>7} {'top-1':>7} {'KL':>7} {'before':>7}")
    means = {}
    for (agent, seed), result in sorted(cells.items()):
        macs = int(result["compressed"]["cost"]["macs"]) / int(result["original"]["cost"]["macs"])
        top1 = 100 * result["compressed"]["top1"]
        means.setdefault(agent, []).append(top1)
        print(f"{agent:<12} {seed:>4} {100 * macs:>6.2f}% {top1:>6.2f}% {result['compressed']['kl']:>7.4f} "
              f"{100 * result['original']['top1']:>6.2f}%")
    print()
    for agent, values in means.items():
        spread = statistics.stdev(values) if len(values) > 1 else 0
        print(f"{agent:<12} mean {statistics.mean(values):.2f}% +- {spread:.2f} over {len(values)} seeds")


if __name__ == "__main__":
    main()
