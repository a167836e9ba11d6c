#!/usr/bin/python3
"""Searches for zeros within weights against uniform sparsity at equal cost: one search per target.

  resnet56-2:4   every layer of ResNet-56 dense or 2:4, three quarters of the weights (AMC_TEST_DATA has the network and CIFAR-10)
  vgg-fc-eie     single weights of a network with three linear layers (Fashion-MNIST, trained here), 35% of the time on EIE, simulated
  vgg-fc-weights the same, 6% of the weights

usage: sparse_search.py --out DIR [--rows NAME,...] [--bin DIR] [--episodes N] [--seeds N]

Each row is an `amc compare` into DIR/NAME, which goes on where it was stopped. Prints its tables.
"""
import argparse
import os
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import packs  # noqa: E402

AGENTS = "hybrid,dp,uniform"


def run(*command):
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: exit code {done.returncode}")
    return done.stdout


def resnet56(amc, out):
    data = os.environ.get("AMC_TEST_DATA") or sys.exit("AMC_TEST_DATA must name the folder with models/ and data/")
    return os.path.join(data, "models/resnet56-cifar10.onnx"), packs.pack_cifar(amc, out), ["--sparsity", "2:4", "--budget", "0.75"]


def vgg_fc(amc, out):
    """The network and its images."""
    pack, model = packs.pack_fashion(amc, out), os.path.join(out, "vgg-fc.onnx")
    if not os.path.exists(model):
        print(run(amc, "train", "--arch", "vgg-fc", "--idx", "/usr/share/datasets/fashion-mnist", "--mean", "0.2860", "--std", "0.3530",
                  "--epochs", "3", "--crop-padding", "2", "--threads", "1", "-o", model), end="")
    return model, pack


def vgg_fc_eie(amc, out):
    model, pack = vgg_fc(amc, out)
    table = os.path.join(out, "eie.csv")
    print(run(amc, "lut", "simulate", model, "--backend", "eie", "--linear", "--data", pack, "-o", table), end="")
    return model, pack, ["--sparsity", "element", "--budget", "latency=0.35", "--latency-table", table]


def vgg_fc_weights(amc, out):
    return *vgg_fc(amc, out), ["--sparsity", "element", "--budget", "nonzeros=0.06", "--metric", "negative_kl"]


ROWS = {"resnet56-2:4": resnet56, "vgg-fc-eie": vgg_fc_eie, "vgg-fc-weights": vgg_fc_weights}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--bin", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../build/release/bin"))
    parser.add_argument("--episodes", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--images", type=int, default=1000, help="reward images of a full evaluation")
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    amc = os.path.join(args.bin, "amc")
    for name in args.rows.split(","):
        if name not in ROWS:
            sys.exit(f"there is no row {name}; there are {', '.join(ROWS)}")
        model, pack, flags = ROWS[name](amc, args.out)
        print(f"\n## {name}\n")
        print(run(amc, "compare", model, "--data", pack, *flags, "--agents", AGENTS, "--seeds", args.seeds, "--episodes", args.episodes,
                  "--reward-images", args.images, "-o", os.path.join(args.out, name.replace(":", "-"))))


if __name__ == "__main__":
    main()
