"""What chaos.py does things to: processes that are started again and again, one that watches, a disk that can be full."""
import ctypes
import errno
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time

from amc_e2e import AMC, amc, environment

DISK_BYTES = 256 << 20
IN_NAMESPACE = "AMC_CHAOS_NAMESPACE"
ENDED = ("JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED")


def output_of(*args):
    done = amc(*args)
    if done.returncode != 0:
        raise AssertionError(f"amc {' '.join(map(str, args))}: exit code {done.returncode}\n{done.stderr}")
    return done.stdout


def json_lines(text):
    return [json.loads(line) for line in text.splitlines()]


def has_ended(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


class Process:
    """An `amc` process in a group of its own that is started again and again; its output goes to one file."""

    def __init__(self, name, folder, *command):
        self.name = name
        self.log_path = f"{folder}/{name}.log"
        self.command = [AMC, *map(str, command)]
        self.popen = None
        self.start_at = 0.0  # when it is down
        self.frozen = False

    def start(self):
        with open(self.log_path, "a") as log:
            self.popen = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                          env=environment(), start_new_session=True)

    def alive(self):
        return self.popen is not None and self.popen.poll() is None

    def children(self):
        return self.tree()[1:]

    def tree(self):
        """Its own id and those of all that it started."""
        found = [self.popen.pid]
        for pid in found:
            try:
                with open(f"/proc/{pid}/task/{pid}/children") as file:
                    found += map(int, file.read().split())
            except OSError:
                pass
        return found

    def kill(self):
        tree = self.tree()
        os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()
        self.frozen = False
        deadline = time.monotonic() + 5
        while not all(map(has_ended, tree)):
            if time.monotonic() > deadline:
                raise AssertionError(f"{self.name} was killed, but a process that it started lives on")
            time.sleep(0.005)

    def signal(self, pids, number):
        for pid in pids:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass
        self.frozen = number == signal.SIGSTOP

    def cpu_ticks(self):
        ticks = 0
        for pid in self.tree():
            try:
                with open(f"/proc/{pid}/stat") as file:
                    ticks += sum(map(int, file.read().rpartition(")")[2].split()[11:13]))
            except OSError:
                pass
        return ticks

    def log(self, offset=0):
        with open(self.log_path, errors="replace") as file:
            file.seek(offset)
            return file.read()

    def stop(self):
        """SIGTERM; returns the exit code."""
        self.popen.send_signal(signal.SIGTERM)
        try:
            return self.popen.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()
            return "none within 30 s"


class Watcher:
    """`amc watch` from the first event to the last, across all that happens to the server."""

    def __init__(self, folder, address, job):
        self.path = f"{folder}/watch.jsonl"
        self.command = [AMC, "watch", job, "--json", "--server", address]
        self.events = []  # the stored ones
        self.state = "JOB_STATE_QUEUED"
        self.episodes = 0
        self.restarts = -1
        self.popen = None
        self.rest = ""
        open(self.path, "w").close()
        self.file = open(self.path)

    def poll(self):
        *lines, self.rest = (self.rest + self.file.read()).split("\n")
        for event in map(json.loads, lines):
            if event["sequence"] == "0":
                continue
            self.events.append(event)
            self.state = event["state"]
            self.episodes += event["kind"] == "EVENT_KIND_EPISODE"
        if self.state not in ENDED and (self.popen is None or self.popen.poll() is not None):
            self.rest = ""
            self.restarts += 1
            after = self.events[-1]["sequence"] if self.events else "0"
            with open(self.path, "a") as out:
                self.popen = subprocess.Popen([*self.command, "--after", after], stdin=subprocess.DEVNULL, stdout=out,
                                              stderr=subprocess.DEVNULL, env=environment(), start_new_session=True)

    def finish(self):
        """Reads on to the last event."""
        self.popen.wait(60)
        self.poll()

    def close(self):
        if self.popen is not None and self.popen.poll() is None:
            self.popen.kill()
        if self.popen is not None:
            self.popen.wait()
        self.file.close()


def enter_namespace():
    """Starts this program again where it may mount a disk that nobody else sees; comes back if it is there or cannot be."""
    if IN_NAMESPACE in os.environ:
        return
    os.environ[IN_NAMESPACE] = "1"
    for unshare in (["unshare", "--mount"], ["unshare", "--user", "--map-root-user", "--mount"]):
        if shutil.which("unshare") and subprocess.run([*unshare, "true"], capture_output=True).returncode == 0:
            os.execvp(unshare[0], [*unshare, sys.executable, *sys.argv])


class SmallDisk:
    """A tmpfs that a file fills up to the last byte, and frees again."""

    def __init__(self, folder):
        self.folder = folder
        os.makedirs(folder)
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(b"tmpfs", folder.encode(), b"tmpfs", 0, f"size={DISK_BYTES}".encode()) != 0:
            raise OSError(ctypes.get_errno(), "cannot mount a small disk")
        self._umount = lambda: libc.umount2(folder.encode(), 2)  # MNT_DETACH

    def fill(self):
        with open(f"{self.folder}/filler", "wb", buffering=0) as file:
            chunk = bytes(1 << 20)
            try:
                while True:
                    file.write(chunk)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise

    def free(self):
        if os.path.exists(f"{self.folder}/filler"):
            os.remove(f"{self.folder}/filler")

    def close(self):
        self._umount()


def free_port():
    """A port of 127.0.0.1 outside the range from which outgoing connections take theirs: it stays free between two lives of
    the server."""
    for port in range(random.SystemRandom().randrange(20000, 30000), 32000):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass
    raise AssertionError("no free port")
