#!/usr/bin/python3
"""Do latency budgets hold? Searches under them, and their winners timed anew beside the originals.

usage: latency_budgets.py [--bin DIR] [--out DIR] [--parts tables,halves,random,macs] [--runtimes onnxruntime,libtorch]
                          [--random 18] [--seed 1] [--show]

Parts, each of which goes on where it stopped when the same command runs again:
  tables   a latency table of ResNet-56, and of MobileNetV2 at 224 pixels (hardly trained), on each runtime
  halves   searches for half of the original's time on each runtime, ranked by KL (MobileNetV2 on few images)
  random   searches for random shares of the time in which nothing else counts, over both networks and all runtimes
  macs     ResNet-56 under budgets of MACs, searched as for its half: how accurate is what is as fast?

What counts is the share of the original's time that the winner takes, both measured in turns, over the budget: 1.03 at most is wanted.
Run it on an idle machine: it takes about an hour on two cores. --show prints what is there and computes nothing.
"""
import argparse
import json
import os
import random
import subprocess
import sys

from packs import cifar_images, pack_cifar

ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
# ResNet-56: 1,000 reward images, 60 full evaluations.
REAL = ["--reward-images", 1000, "--probe-images", 250, "--screening-images", 250, "--episodes", 60]
# MobileNetV2: 0.3 GMACs an image, of an original that was hardly trained: its outputs are what is kept.
FEW = ["--reward-images", 48, "--probe-images", 16, "--screening-images", 16, "--report-images", 96, "--episodes", 12,
       "--allow-weak-baseline", "--set", "evaluation.reconstruction_images=64", "--set", "evaluation.sampled_images=32"]
# Nothing counts but time: a single image says nothing of quality.
BLIND = ["--agent", "random", "--reward", "error_log_latency", "--reward-images", 1, "--report-images", 1, "--episodes", 8,
         "--allow-weak-baseline", "--reconstruction", "none", "--set", "evaluation.reconstruction_images=8", "--set",
         "evaluation.recalibration_images=0"]
MAC_RATIOS = (0.2, 0.25, 0.3)


class Bench:
    def __init__(self, args):
        self.args = args
        self.amc = os.path.join(args.bin, "amc")
        os.makedirs(args.out, exist_ok=True)
        if args.show:
            return
        data = os.environ.get("AMC_TEST_DATA") or sys.exit("set AMC_TEST_DATA")
        self.models = {"resnet56": os.path.join(data, "models/resnet56-cifar10.onnx"), "mobilenetv2": self.path("mobilenetv2.onnx")}
        self.packs = {"resnet56": pack_cifar(self.amc, args.out), "mobilenetv2": self.path("mobilenetv2.pack")}
        images = cifar_images(args.out)
        if not os.path.exists(self.models["mobilenetv2"]):
            self.run(self.amc, "train", "--arch", "mobilenetv2", "--images", images, "--size", 224, "--limit", 256, "--batch", 32,
                     "--epochs", 2, "--seed", 1, "-o", self.models["mobilenetv2"])
        if not os.path.exists(self.packs["mobilenetv2"]):
            self.run(self.amc, "data", "pack", "--images", images, "--size", 224, "--limit", 200, "-o", self.packs["mobilenetv2"])

    def path(self, name):
        return os.path.join(self.args.out, name)

    def run(self, *command):
        command = [str(part) for part in command]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)}: exit code {done.returncode}; the same command goes on from here")
        return done.stdout

    def table(self, network, runtime):
        table = self.path(f"{network}-{runtime}.csv")
        if not os.path.exists(table + ".done"):
            print(self.run(self.amc, "lut", "build", self.models[network], "--runtime", runtime, "-o", table), flush=True)
            open(table + ".done", "w").close()
        return table

    def search(self, name, network, *settings, runtime=None):
        """Runs a job, unless it is done, and times its winner anew where it has a runtime."""
        record = self.path(f"{name}.json")
        if os.path.exists(record):
            return
        out = self.path(name)
        more = ["--latency-table", self.table(network, runtime)] if runtime else []
        self.run(self.amc, "run", self.models[network], "--data", self.packs[network], "--workers", 2, *settings, *more, "-o", out)
        result = json.loads(self.run(self.amc, "best", "--dir", out, "--json"))["result"]
        found = {"network": network, "runtime": runtime, "result": {k: v for k, v in result.items() if k != "steps"}}
        with open(record, "w") as file:
            json.dump(found, file)

    def time_again(self, name, runtime):
        """The winner's measured share of the original's time."""
        with open(self.path(f"{name}.json")) as file:
            found = json.load(file)
        if runtime not in found.setdefault("pairs", {}):
            found["pairs"][runtime] = json.loads(self.run(os.path.join(self.args.bin, "latency_pair"), self.models[found["network"]],
                                                          self.path(f"{name}/model.onnx"), runtime))
            with open(self.path(f"{name}.json"), "w") as file:
                json.dump(found, file)

    def compute(self, part):
        runtimes = self.args.runtimes.split(",")
        if part == "tables":
            for network in self.models:
                for runtime in runtimes:
                    self.table(network, runtime)
        elif part == "halves":
            for runtime in runtimes:
                for network, settings in (("resnet56", REAL), ("mobilenetv2", FEW)):
                    name = f"half-{network}-{runtime}-0.5"
                    self.search(name, network, *settings, "--budget", "latency=0.5", runtime=runtime)
                    self.time_again(name, runtime)
        elif part == "random":
            rng = random.Random(self.args.seed)
            for i in range(self.args.random):
                network, runtime = ("resnet56", "mobilenetv2")[i % 2], runtimes[i // 2 % len(runtimes)]
                # What the network can be cut to, with multiples of 8 channels.
                budget = round(rng.uniform(0.6 if network == "resnet56" else 0.4, 0.95), 3)
                name = f"random{i:02}-{network}-{budget}"
                self.search(name, network, *BLIND, "--seed", i, "--budget", f"latency={budget}", runtime=runtime)
                self.time_again(name, runtime)
        elif part == "macs":
            for ratio in MAC_RATIOS:
                name = f"macs-resnet56-{ratio}"
                self.search(name, "resnet56", *REAL, "--channel-multiple", 8, "--budget", ratio)
                for runtime in runtimes:
                    self.time_again(name, runtime)
        else:
            sys.exit(f"there is no part {part}")

    def show(self):
        print("| search | runtime | budget | predicted | measured at its end | measured anew | anew / budget | top-1 | KL |")
        print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
        over = []
        for file_name in sorted(os.listdir(self.args.out)):
            if not file_name.endswith(".json"):
                continue
            with open(self.path(file_name)) as file:
                found = json.load(file)
            name, budget = file_name[:-len(".json")].rsplit("-", 1)
            result, latency = found["result"], found["result"].get("latency")
            for runtime, pair in found.get("pairs", {}).items():
                cells = ["", ""]
                ratio = ""
                if latency:
                    cells = [f"{latency['predicted_us'] / latency['predicted_original_us']:.3f}",
                             f"{latency['measured_us'] / latency['measured_original_us']:.3f}"]
                    over.append(pair["ratio"] / float(budget))
                    ratio = f"{over[-1]:.3f}"
                compressed = result["compressed"]
                print(f"| {name} | {runtime} | {budget} | {cells[0]} | {cells[1]} | {pair['ratio']:.3f} | {ratio} "
                      f"| {100 * compressed['top1']:.2f} | {compressed['kl']:.4f} |")
        if over:
            print(f"\n{len(over)} searches by latency: measured anew over the budget at most {max(over):.3f}, wanted at most 1.03")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default=os.path.join(ROOT, "build/release/bin"))
    parser.add_argument("--out", default=os.path.join(ROOT, "out/latency_budgets"))
    parser.add_argument("--parts", default="tables,halves,random,macs")
    parser.add_argument("--runtimes", default="onnxruntime,libtorch")
    parser.add_argument("--random", type=int, default=18)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", action="store_true", help="print what is there and compute nothing")
    args = parser.parse_args()
    bench = Bench(args)
    for part in [] if args.show else args.parts.split(","):
        bench.compute(part)
    bench.show()


if __name__ == "__main__":
    main()
