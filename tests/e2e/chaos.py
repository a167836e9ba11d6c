#!/usr/bin/python3
"""A job under fire: what becomes of its history while server and workers are killed, frozen, cut off, out of disk.

usage: chaos.py [--kills N] [--workers N,N,...] [--seed N] [--episodes N] [--parallel-episodes N]
                [--only kill|freeze|disk|network] [--keep DIR]

The job runs once undisturbed (`amc run`). Then, for every number of workers, a real `amc serve` and real `amc worker`
processes run it on TCP sockets, workers through a proxy, and are

- killed with SIGKILL at random moments of the whole job: the server, a worker, only the process in it that computes, all at
  once; started again a random short time later, workers sometimes without their cache;
- frozen (SIGSTOP) for longer than a lease's term, then let go on with a result that nobody wants any more;
- cut off, slowed down, delayed, or left without an answer;
- given a full disk under the server's data.

In the end the history must be the undisturbed one byte for byte, as must be the best candidate and the network; episodes
and events must be there once each, without gaps. All random choices come from --seed; only the system's own timing
differs from run to run. Exit code 0: it is so. 1: it is not, with what differs. 77: --only disk on a machine that lets
nobody mount a small disk.
"""
import argparse
import collections
import dataclasses
import heapq
import itertools
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time

from amc_e2e import TinyCase
from chaos_check import check_database, check_job, undisturbed
from chaos_service import ENDED, Process, SmallDisk, Watcher, enter_namespace, free_port, output_of
from tcp_proxy import TcpProxy

LEASE_TERM = 1.5  # seconds: a lost worker is missed soon
HEARTBEAT = 0.3
PATIENCE = 120    # seconds without a new event in which a job may go on
SKIPPED = 77


@dataclasses.dataclass
class Settings:
    workers: int = 3
    episodes: int = 800
    parallel_episodes: int = 4
    seed: int = 1
    kills: int = 200
    freezes: int = 0   # SIGSTOP, each longer than a lease's term
    troubles: int = 0  # of the network
    fills: int = 0     # of the disk


@dataclasses.dataclass
class Act:
    """Something that is done to the service once the search has come to `at` (0 to 1), and about `lag` generations later."""
    kind: str       # "server", "worker", "child", "all"; "freeze ..."; "cut", "stall", "slow", "delay"; "fill"
    at: float
    lag: float
    pick: float     # which worker
    seconds: float  # until the killed starts again; for which the rest lasts
    fresh: bool     # a worker starts again without its cache


def make_plan(settings):
    """All that will be done, in order. A few kills are for the time before the first episode and a few for the finish; the
    latter come on top of those asked for, as the job may end before they do."""
    rng = random.Random(settings.seed)
    server_share = max(0.5, 1 - 4 / settings.workers)  # many workers take long to start again
    plan = []

    def add(kind, at, seconds):
        plan.append(Act(kind, at, rng.random(), rng.random(), seconds, rng.random() < 0.3))

    def kill(at):
        server = rng.random() < server_share
        everything = rng.random() < 0.1 / settings.workers
        child = rng.random() < 0.4
        kind = "all" if everything else "server" if server else "child" if child else "worker"
        add(kind, at, min(rng.expovariate(2), 3))

    early = max(2, settings.kills // 30) if settings.kills else 0
    for i in range(settings.kills):
        kill(0 if i < early else 0.9 * rng.random())
    for i in range(early + 1 if settings.kills else 0):
        if i == 0:
            add("worker", 1, 0.5)  # whoever finishes the job
        else:
            kill(1)
    for i in range(settings.freezes):
        kind = ("freeze worker", "freeze child", "freeze server")[i % 3]
        add(kind, 0.6 * rng.random(), LEASE_TERM * rng.uniform(1.6, 2.5))
    for i in range(settings.troubles):
        kind = ("cut", "slow", "stall", "delay")[i % 4]
        add(kind, 0.8 * rng.random(), min(0.3 + rng.expovariate(0.5), 4 * LEASE_TERM))
    for i in range(settings.fills):
        add("fill", 0.7 * rng.random(), min(rng.expovariate(0.5), 6))
    return sorted(plan, key=lambda act: act.at)


def job_flags(settings, model, pack):
    """A job of short evaluations whose rewards all differ, so that a wrong one shows in all that the agent does later."""
    return ["--model", model, "--data", pack, "--budget", "0.5", "--seed", settings.seed, "--episodes", settings.episodes,
            "--parallel-episodes", settings.parallel_episodes, "--agent", "ddpg-paper", "--metric", "negative_kl",
            "--reward-images", 100, "--report-images", 100, "--set", "search.ddpg.warmup_episodes=16",
            "--set", "evaluation.reconstruction_images=200", "--set", "evaluation.samples_per_layer=4000",
            "--set", "evaluation.recalibration_images=64", "--no-reuse"]


class Chaos:
    """Runs the job on a server and workers of its own and carries the plan out."""

    def __init__(self, settings, folder, model, pack, report=print):
        self.settings = settings
        self.folder = folder
        self.report = report
        self.plan = collections.deque(make_plan(settings))
        self.done = collections.Counter()  # (what, state of the job)
        self.landed = 0                    # kills
        self.dropped = 0                   # results of frozen workers
        self.met = 0                       # full disks that the server met
        self.faults = []
        self.later = []                    # (time, number, function)
        self.numbers = itertools.count()
        self.generation = 1.0              # seconds that one took lately
        self.last_acts = 0                 # planned during the finish
        self.held_until = 0.0              # nothing new is done before
        self.trouble_until = 0.0
        self.full = False
        os.makedirs(folder)
        self.disk = SmallDisk(f"{folder}/disk") if settings.fills else None
        self.data = f"{self.disk.folder if self.disk else folder}/data"
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        self.proxy = TcpProxy(port) if settings.troubles else None
        self.server = Process("server", folder, "serve", "--address", self.address, "--data-folder", self.data, "--lease-term",
                              f"{LEASE_TERM:g}s", "--heartbeat", f"{HEARTBEAT:g}s", "--backoff", "100ms")
        way_in = f"127.0.0.1:{self.proxy.port}" if self.proxy else self.address
        self.workers = [Process(f"worker-{i}", folder, "worker", "--server", way_in, "--cache", f"{folder}/cache-{i}")
                        for i in range(settings.workers)]
        self.submit = ["submit", *job_flags(settings, model, pack), "--request-id", "chaos", "--json", "--server", self.address,
                       "--connect-timeout", 30]

    def run(self):
        """From the submission to the job's end; everything is in order again then."""
        self.begin = time.monotonic()
        self.server.start()
        self.job = json.loads(output_of(*self.submit))["id"]
        for worker in self.workers:  # only now, so that some kills come before the first episode
            worker.start()
        self.watcher = Watcher(self.folder, self.address, self.job)
        last_event, last_episodes, last_report = time.monotonic(), 0, self.begin
        while self.watcher.state not in ENDED:
            now = time.monotonic()
            seen = len(self.watcher.events)
            self.watcher.poll()
            if self.watcher.episodes > last_episodes:
                self.generation = 0.7 * self.generation + 0.3 * min(now - last_event, 10)
                last_episodes = self.watcher.episodes
            if len(self.watcher.events) > seen:
                last_event = now
            if now - last_event > PATIENCE:
                raise AssertionError(f"nothing has happened for {PATIENCE} s, at episode {self.watcher.episodes}; logs in "
                                     f"{self.folder}")
            self.look_after_processes(now)
            while self.later and self.later[0][0] <= now:
                heapq.heappop(self.later)[2]()
            self.begin_due_acts(now)
            if now - last_report > 10:
                last_report = now
                self.report_progress(now)
            time.sleep(0.01)
        self.restore()
        self.watcher.finish()

    def progress(self):
        return self.watcher.episodes / self.settings.episodes

    def report_progress(self, now):
        elapsed = now - self.begin
        share = self.progress()
        eta = f"{elapsed * (1 - share) / share:.0f} s to go" if share > 0.02 else ""
        self.report(f"{elapsed:4.0f} s  episode {self.watcher.episodes}/{self.settings.episodes}  {self.landed} kills of "
                    f"{self.settings.kills}  {eta}")

    def at(self, when, function):
        heapq.heappush(self.later, (when, next(self.numbers), function))

    def look_after_processes(self, now):
        """Starts what is due; whoever ended by itself, though nothing is wrong with its disk, is a fault."""
        for process in (self.server, *self.workers):
            if process.alive():
                continue
            if process.popen is not None:  # seen for the first time
                code = process.popen.returncode
                process.popen = None
                if code != -signal.SIGKILL:
                    if not (process is self.server and self.disk and re.search("space|full", process.log()[-2000:])):
                        self.faults.append(f"{process.name} ended by itself with {code}:\n{process.log()[-1000:]}")
                    process.start_at = now + 0.5
            if now >= process.start_at:
                process.start()

    def begin_due_acts(self, now):
        if now < self.held_until:
            return
        while self.plan and self.plan[0].at <= self.progress():
            act = self.plan.popleft()
            if self.progress() < 1:  # sooner towards the end, or the job would be over
                lag = act.lag * min(self.generation, 2) * (1 - self.progress())
            else:  # one after the other
                lag = 0.3 * (self.last_acts + act.lag)
                self.last_acts += 1
            self.at(now + lag, lambda act=act: self.begin_act(act))

    def begin_act(self, act):
        now = time.monotonic()
        again = None
        if now < self.held_until:
            again = self.held_until + 0.5 * act.lag
        elif act.kind in ("cut", "stall", "slow", "delay") and now < self.trouble_until:
            again = self.trouble_until + 0.1
        elif act.kind == "fill" and self.full:
            again = now + 1
        elif self.watcher.state not in ENDED and not self.carry_out(act, now):
            again = now + 0.05  # whom it is about is not there
        if again is not None:
            self.at(again, lambda: self.begin_act(act))

    def carry_out(self, act, now):
        """False if whom it is about is not there."""
        if act.kind in ("server", "worker", "child", "all"):
            return self.kill(act, now)
        if act.kind == "freeze server":
            return self.freeze_server(act, now)
        if act.kind.startswith("freeze"):
            return self.freeze_worker(act, now)
        self.count(act.kind)
        if act.kind == "fill":
            self.fill(act, now)
            return True
        {"cut": self.proxy.cut, "stall": self.proxy.stall, "delay": lambda: self.proxy.delay(0.02 + 0.3 * act.pick),
         "slow": lambda: self.proxy.slow(int(20_000 * 50 ** act.pick))}[act.kind]()
        self.trouble_until = now + act.seconds
        self.at(self.trouble_until, self.proxy.heal)
        return True

    def count(self, what):
        self.done[what, self.watcher.state] += 1

    def kill(self, act, now):
        """Kills whom the act names, or somebody else if that one is not there."""
        there = [worker for worker in self.workers if worker.alive()]
        kind = act.kind
        if kind == "server" and not self.server.alive():
            kind = "worker"
        if kind in ("worker", "child") and not there:
            kind = "server"
        if kind == "server" and not self.server.alive():
            return False
        if kind == "all":
            victims = [process for process in (self.server, *there) if process.alive()]
        elif kind == "server":
            victims = [self.server]
        else:
            victims = [there[int(act.pick * len(there))]]
            if self.progress() >= 1:
                victims = [self.busiest(there, idle=victims[0])]
        if kind == "child" and victims[0].children():
            os.kill(victims[0].children()[-1], signal.SIGKILL)
            self.landed += 1
            self.count("killed computing process")
            return True
        for i, victim in enumerate(victims):
            if act.fresh and victim is not self.server:
                self.at(now, lambda victim=victim: self.forget_cache(victim))
            victim.kill()
            victim.start_at = now + act.seconds * (1 + i / 4)
            self.landed += 1
        self.count({"all": "killed all at once", "server": "killed server"}.get(kind, "killed worker"))
        return True

    def forget_cache(self, worker):
        if not worker.alive():
            shutil.rmtree(worker.command[-1], ignore_errors=True)

    def freeze_server(self, act, now):
        """Stops the server for longer than a lease lasts; nothing else is done meanwhile."""
        if not self.server.alive():
            return False
        self.server.signal(self.server.tree(), signal.SIGSTOP)
        self.held_until = now + act.seconds
        self.at(self.held_until, lambda: self.server.signal(self.server.tree(), signal.SIGCONT))
        self.count(act.kind)
        return True

    def freeze_worker(self, act, now):
        """Stops a worker, or only its computing process, in the middle of a task for longer than its lease lasts; nothing
        else is done meanwhile."""
        if not self.server.alive():
            return False
        victim = self.busiest([worker for worker in self.workers if worker.alive()], idle=None)
        if victim is None:
            return False
        tree = victim.tree()
        pids = tree[1:] if act.kind == "freeze child" and len(tree) > 1 else tree
        victim.signal(pids, signal.SIGSTOP)
        begin_ms = time.time() * 1000
        offset = os.path.getsize(victim.log_path)

        def check():
            """It may have been between two tasks: then another moment is tried."""
            if self.silent_leases(begin_ms):
                self.held_until = now + act.seconds
                self.count(act.kind)
                self.at(self.held_until, thaw)
            else:
                victim.signal(pids, signal.SIGCONT)
                self.at(time.monotonic() + 0.05, lambda: self.begin_act(act))

        def thaw():
            victim.signal(pids, signal.SIGCONT)
            self.held_until = time.monotonic() + 0.7  # in which it learns that it came too late
            self.at(self.held_until, look)

        def look():
            self.dropped += "dropped" in victim.log(offset)

        self.held_until = now + 3 * HEARTBEAT
        self.at(self.held_until, check)
        return True

    def silent_leases(self, since_ms):
        """How many workers have a lease and were heard of shortly before that time, but not after it."""
        workers = json.loads(output_of("workers", "--json", "--server", self.address, "--connect-timeout", 30))["workers"]
        return sum("lease" in worker and -2000 * HEARTBEAT < int(worker["last_seen_ms"]) - since_ms < 100 for worker in workers)

    @staticmethod
    def busiest(processes, idle):
        """The one that computes most at this moment; `idle` if none computes."""
        before = [process.cpu_ticks() for process in processes]
        time.sleep(0.06)
        used = [process.cpu_ticks() - ticks for process, ticks in zip(processes, before)]
        return processes[used.index(max(used))] if any(used) else idle

    def fill(self, act, now):
        """Fills the disk until the server has met it, as what it overwrites in place needs no space, and somewhat longer."""
        offset = os.path.getsize(self.server.log_path)
        self.disk.fill()
        self.full = True

        def look():
            if re.search("disk is full|no space left", self.server.log(offset)):
                self.met += 1
                self.at(time.monotonic() + act.seconds, free)
            elif self.progress() < 1:
                self.at(time.monotonic() + 0.1, look)
            else:
                free()

        def free():
            self.disk.free()
            self.full = False

        look()

    def restore(self):
        """Everybody there, nobody frozen, network and disk as they should be."""
        if self.proxy:
            self.proxy.heal()
        if self.disk:
            self.disk.free()
        for process in (self.server, *self.workers):
            if process.frozen:
                process.signal(process.tree(), signal.SIGCONT)
            if not process.alive():
                process.start()

    def check_deeds(self):
        """Whether what was to be shown happened at all."""
        faults = []
        if self.landed < self.settings.kills:
            faults.append(f"only {self.landed} of {self.settings.kills} kills came before the end")
        if self.settings.freezes and not self.dropped:
            faults.append("no frozen worker came back too late: nothing was shown")
        if self.settings.fills and not self.met:
            faults.append("the server never met the full disk: nothing was shown")
        return faults

    def stop(self):
        """Ends all processes in order; whoever does not leave well is a fault."""
        for process in (*self.workers, self.server):
            code = process.stop()
            if code != 0:
                self.faults.append(f"{process.name}, told to stop, ended with {code}:\n{process.log()[-1000:]}")

    def close(self):
        """Whatever is left."""
        for process in (*self.workers, self.server):
            if process.alive():
                process.kill()
        if hasattr(self, "watcher"):
            self.watcher.close()
        if self.proxy:
            self.proxy.close()
        if self.disk:
            self.disk.close()

    def table(self):
        states = [("baseline", ("JOB_STATE_QUEUED", "JOB_STATE_BASELINE")), ("search", ("JOB_STATE_SEARCHING",)),
                  ("finish", ("JOB_STATE_FINISHING",))]
        lines = [f"{'':<26}" + "".join(f"{name:>10}" for name, _ in states)]
        for what in sorted({what for what, _ in self.done}, key=lambda what: (not what.startswith("killed"), what)):
            counts = [sum(self.done[what, state] for state in names) for _, names in states]
            lines.append(f"{what:<26}" + "".join(f"{count:>10}" for count in counts))
        return "\n".join(lines)


def run_chaos(settings, folder, model, pack, expected, report=print):
    """One job under fire; reports what was done to it and returns what is wrong in the end."""
    chaos = Chaos(settings, folder, model, pack, report)
    begin = time.monotonic()
    try:
        chaos.run()
        chaos.faults += check_job(chaos.job, chaos.address, chaos.watcher.events, settings.episodes, expected, folder)
        chaos.faults += chaos.check_deeds()
        chaos.stop()
        chaos.faults += check_database(f"{chaos.data}/amc.db")
    except AssertionError as error:
        chaos.faults.append(str(error))
    finally:
        chaos.close()
    report(f"{settings.workers} workers: {chaos.landed} kills and {settings.episodes} episodes in "
           f"{time.monotonic() - begin:.0f} s; {chaos.dropped} late results dropped, {chaos.met} full disks met\n"
           f"{chaos.table()}")
    return chaos.faults


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--workers", default="3", help="one or several numbers: 1,3,16")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--episodes", type=int, help="default 4 for each kill, at least 200")
    parser.add_argument("--parallel-episodes", type=int, help="default: the most workers, at least 4")
    parser.add_argument("--only", choices=("kill", "freeze", "disk", "network"), help="without it all of them, the others a "
                        "twentieth as often as kills; alone they come once in 60 episodes")
    parser.add_argument("--keep", metavar="DIR", help="leave databases and logs there")
    args = parser.parse_args()
    args.workers = [int(number) for number in args.workers.split(",")]
    args.kills = args.kills if args.only in (None, "kill") else 0
    args.episodes = args.episodes or max(200, 4 * args.kills)
    args.parallel_episodes = args.parallel_episodes or max(4, *args.workers)
    return args


def main():
    args = parse_args()
    disk = args.only in (None, "disk")
    if disk:
        enter_namespace()
    some = max(1, args.kills // 20 if args.only is None else args.episodes // 60)
    settings = Settings(episodes=args.episodes, parallel_episodes=args.parallel_episodes, seed=args.seed, kills=args.kills,
                        freezes=some if args.only in (None, "freeze") else 0, fills=some if disk else 0,
                        troubles=2 * some if args.only in (None, "network") else 0)
    scratch = tempfile.TemporaryDirectory(prefix="amc-chaos")
    folder = args.keep or scratch.name
    os.makedirs(folder, exist_ok=True)
    if disk:
        try:
            SmallDisk(f"{folder}/probe").close()
        except OSError as error:
            print(f"no full disk: {error}", flush=True)
            if args.only == "disk":
                return SKIPPED
            settings.fills = 0
    TinyCase.setUpClass()
    print(f"plan: {settings.episodes} episodes in generations of {settings.parallel_episodes}, seed {settings.seed}; "
          f"{settings.kills} kills, {settings.freezes} freezes, {settings.troubles} troubles of the network, "
          f"{settings.fills} full disks; with {', '.join(map(str, args.workers))} workers", flush=True)
    begin = time.monotonic()
    expected = undisturbed(job_flags(settings, TinyCase.model, TinyCase.pack), f"{folder}/undisturbed")
    print(f"undisturbed: {time.monotonic() - begin:.0f} s", flush=True)
    failed = False
    for workers in args.workers:
        one = dataclasses.replace(settings, workers=workers)
        faults = run_chaos(one, f"{folder}/{workers}-workers", TinyCase.model, TinyCase.pack, expected,
                           lambda text: print(text, flush=True))
        print("\n".join(faults) if faults else "nothing lost, doubled or changed", flush=True)
        failed = failed or bool(faults)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
