#!/usr/bin/python3
"""What the service costs: workers of a server against as many processes that measure the same candidates without one.

usage: worker_throughput.py [--bin DIR] [--model FILE] [--data PACK] [--workers N] [--rounds N] [--generations N]
                            [--parallel-episodes N] [--reward-images N] [--json]

A round is a job of the random agent (nothing is learnt) on a server with N workers of one thread, then N processes of
`amc eval --policies`, which measure the job's candidates between them, as a worker does and with the same settings. Both
are timed once all that is prepared once is prepared: the job from the end of its first generation to the end of its last,
gaps between generations included; the processes while all of them are at work. Goals on two cores: 0.95 of the
throughput, and 3% of the CPU time for the server. Without --data, packs the CIFAR-10 of AMC_TEST_DATA first.
"""
import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from packs import pack_cifar

MANY = 1_000_000  # episodes: the job is cancelled once it has been timed


class Bench:
    def __init__(self, args, folder, pack):
        self.args = args
        self.folder = folder
        self.pack = pack
        self.amc_path = os.path.join(args.bin, "amc")
        log = open(f"{folder}/log", "w")
        self.environment = {name: value for name, value in os.environ.items() if name not in ("AMC_SERVER", "AMC_TOKEN")}
        self.server = subprocess.Popen([self.amc_path, "serve", "--address", "127.0.0.1:0", "--data-folder", f"{folder}/data"],
                                       stdout=subprocess.PIPE, stderr=log, text=True, env=self.environment)
        self.address = self.server.stdout.readline().split("listening on ")[1].strip()
        self.workers = [subprocess.Popen([self.amc_path, "worker", "--server", self.address, "--threads", "1", "--cache",
                                          f"{folder}/cache"], stderr=log, env=self.environment) for _ in range(args.workers)]

    def close(self):
        for process in (*self.workers, self.server):
            process.terminate()
            process.wait(30)

    def amc(self, *args):
        done = subprocess.run([self.amc_path, *map(str, args)], stdout=subprocess.PIPE, text=True, env=self.environment,
                              check=False)
        if done.returncode != 0:
            sys.exit(f"amc {' '.join(map(str, args))}: exit code {done.returncode}")
        return done.stdout

    def served(self, number):
        """Runs a job; returns its row of the table and the candidates' lines."""
        server = ["--server", self.address]
        job = json.loads(self.amc("submit", "--model", self.args.model, "--data", self.pack, "--budget", "0.5", "--agent",
                                  "random", "--seed", number, "--episodes", MANY, "--parallel-episodes",
                                  self.args.parallel_episodes, "--reward-images", self.args.reward_images, "--no-reuse",
                                  "--json", *server))["id"]
        self.wait_for(job, 1)
        before = cpu_seconds([self.server]), cpu_seconds(self.workers)
        self.wait_for(job, 1 + self.args.generations)
        after = cpu_seconds([self.server]), cpu_seconds(self.workers)
        self.amc("cancel", job, *server)
        lines = self.amc("history", job, "--canonical", *server).splitlines()
        episodes = [json.loads(line) for line in self.amc("history", job, "--json", *server).splitlines()]
        of_server, of_workers = (b - a for a, b in zip(before, after))
        first = self.args.parallel_episodes
        timed = slice(first, first * (1 + self.args.generations))
        seconds = (int(episodes[timed][-1]["commit_time_ms"]) - int(episodes[first - 1]["commit_time_ms"])) / 1000
        row = {"served": len(episodes[timed]) / seconds, "server_cpu": of_server / (of_server + of_workers),
               "busy": sum(episode["seconds"] for episode in episodes[timed]) / (self.args.workers * seconds),
               "served_cpu": of_workers / (self.args.generations * self.args.parallel_episodes)}
        return row, lines[timed]

    def wait_for(self, job, generations):
        while True:
            found = json.loads(self.amc("jobs", "--json", "--server", self.address))["jobs"]
            found = next(entry for entry in found if entry["id"] == job)
            if int(found["episodes_done"]) >= generations * self.args.parallel_episodes:
                return
            if found["state"] in ("JOB_STATE_FAILED", "JOB_STATE_SUCCEEDED", "JOB_STATE_CANCELLED"):
                sys.exit(f"job {job} ended: {found['message']}")
            time.sleep(0.25)

    def local(self, lines):
        """The same candidates in processes of their own; returns the rest of the row and their measurements in order."""
        times = [[] for _ in range(self.args.workers)]
        said = [[] for _ in range(self.args.workers)]
        used = [[] for _ in range(self.args.workers)]

        def read(process, i):
            for line in process.stdout:
                times[i].append(time.monotonic())
                said[i].append(json.loads(line)["measurement"])
                if len(said[i]) < counts[i]:  # after the last it may be gone
                    used[i][1:] = [cpu_seconds([process])]

        processes, readers, counts = [], [], []
        for i in range(self.args.workers):
            path = f"{self.folder}/policies-{i}.jsonl"
            with open(path, "w") as file:
                file.write("".join(line + "\n" for line in lines[i::self.args.workers]))
            counts.append(len(lines[i::self.args.workers]))
            command = [self.amc_path, "eval", self.args.model, "--data", self.pack, "--policies", path, "--split", "reward",
                       "--limit", str(self.args.reward_images), "--threads", "1", "--json"]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=self.environment)
            processes.append(process)
            readers.append(threading.Thread(target=read, args=(process, i)))
            readers[-1].start()
        for process, reader in zip(processes, readers):
            reader.join()
            if process.wait() != 0:
                sys.exit(f"amc eval --policies: exit code {process.returncode}")
        begin, end = max(own[0] for own in times), min(own[-1] for own in times)
        rate = 0
        for own in times:
            window = [moment for moment in own if begin <= moment <= end]
            rate += (len(window) - 1) / (window[-1] - window[0])
        cpu = sum(own[-1] - own[0] for own in used) / sum(count - 2 for count in counts)
        measurements = [said[i % self.args.workers][i // self.args.workers] for i in range(len(lines))]
        return {"local": rate, "local_cpu": cpu}, measurements


def cpu_seconds(processes):
    """Of the processes and of all that they started."""
    pids = [process.pid for process in processes]
    ticks = 0
    for pid in pids:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            pids += map(int, file.read().split())
        with open(f"/proc/{pid}/stat") as file:
            ticks += sum(map(int, file.read().rpartition(")")[2].split()[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def same_measurements(lines, local):
    """Whether both did the same work: every figure of every candidate."""
    for line, measurement in zip(lines, local):
        served = json.loads(line)["measurement"]
        if any(served[name] != measurement[name] for name in ("top1", "loss", "kl")):
            return False
    return True


def main():
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default=os.path.join(root, "build/release/bin"))
    parser.add_argument("--model", default=os.path.join(os.environ.get("AMC_TEST_DATA", ""), "models/resnet20-cifar10.onnx"))
    parser.add_argument("--data")
    parser.add_argument("--out", default=os.path.join(root, "out/worker_throughput"), help="where CIFAR-10 is packed")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--generations", type=int, default=2)
    parser.add_argument("--parallel-episodes", type=int, default=32)
    parser.add_argument("--reward-images", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    pack = args.data or pack_cifar(os.path.join(args.bin, "amc"), args.out)

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that nothing is left running
    rows, same, begin = [], True, time.monotonic()
    with tempfile.TemporaryDirectory(prefix="amc-throughput") as folder:
        bench = Bench(args, folder, pack)
        try:
            for number in range(args.rounds):
                row, lines = bench.served(number)
                local, measurements = bench.local(lines)
                row.update(local, ratio=row["served"] / local["local"])
                same = same and same_measurements(lines, measurements)
                rows.append(row)
                left = (time.monotonic() - begin) / len(rows) * (args.rounds - len(rows))
                print(f"round {number + 1} of {args.rounds}: ratio {row['ratio']:.3f}, {left:.0f} s to go", file=sys.stderr)
        finally:
            bench.close()
    median = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
    if args.json:
        print(json.dumps({"rounds": rows, "median": median, "same_measurements": same}))
    else:
        print(f"{os.path.basename(args.model)}, {args.reward_images} reward images, {args.workers} workers of one thread, "
              f"generations of {args.parallel_episodes}\n")
        print(f"{'round':<8} {'served/s':>9} {'local/s':>9} {'ratio':>7} {'CPU s':>7} {'CPU s':>7} {'busy':>7} "
              f"{'server CPU':>11}")
        for name, row in (*enumerate(rows), ("median", median)):
            print(f"{name:<8} {row['served']:>9.3f} {row['local']:>9.3f} {row['ratio']:>7.3f} "
                  f"{row['served_cpu']:>7.3f} {row['local_cpu']:>7.3f} {row['busy']:>7.1%} {row['server_cpu']:>11.2%}")
        print("CPU s: of a candidate, on a worker and in a local process; busy: the share of their time in which workers "
              "compute\n")
        print(f"goals: ratio at least 0.95, server below 3%; measurements {'are the same' if same else 'DIFFER'}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
