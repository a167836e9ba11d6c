"""What must hold of a job that chaos.py had under fire, against the same job undisturbed."""
import dataclasses
import itertools
import json
import os
import sqlite3

from chaos_service import json_lines, output_of


@dataclasses.dataclass
class Result:
    history: str  # canonical
    best: dict    # without times and workers
    model: bytes


def without_times(best):
    for name in ("job", "worker", "attempts", "seconds", "commit_time_ms", "reused"):
        best["episode"].pop(name, None)
    for name in ("original_latency_ms", "compressed_latency_ms"):
        best["result"].pop(name, None)
    return best


def undisturbed(job_flags, folder):
    """What the job comes to in peace; `job_flags` begin with --model FILE."""
    output_of("run", *job_flags[1:], "--workers", 2, "-o", folder)
    with open(f"{folder}/history.jsonl") as history, open(f"{folder}/model.onnx", "rb") as network:
        return Result(history.read(), without_times(json.loads(output_of("best", "--dir", folder, "--json"))), network.read())


def difference(what, expected, found):
    """The first lines that differ, around the place where they do; None if none does."""
    if expected == found:
        return None
    expected, found = expected.splitlines(), found.splitlines()
    text = [f"{what}: {len(found)} lines, undisturbed {len(expected)}"]
    pairs = itertools.zip_longest(expected, found, fillvalue="(none)")
    differing = [(i, a, b) for i, (a, b) in enumerate(pairs) if a != b]
    for i, a, b in differing[:3]:
        place = max(0, len(os.path.commonprefix([a, b])) - 40)
        text += [f"  line {i}, from character {place}", f"  - {a[place:place + 160]}", f"  + {b[place:place + 160]}"]
    return "\n".join(text + [f"  {len(differing)} lines differ"])


def check_events(events, episodes, what):
    faults = []
    sequences = [int(event["sequence"]) for event in events]
    if sequences != list(range(1, len(events) + 1)):
        wrong = next(i for i, sequence in enumerate(sequences) if sequence != i + 1)
        faults.append(f"{what}: event {wrong + 1} has sequence number {sequences[wrong]}")
    numbers = [int(event["episode"]["number"]) for event in events if event["kind"] == "EVENT_KIND_EPISODE"]
    if numbers != list(range(episodes)):
        faults.append(f"{what}: {len(numbers)} episodes of {episodes}, or not in order")
    for kind in ("EVENT_KIND_BASELINE", "EVENT_KIND_RESULT"):
        count = sum(event["kind"] == kind for event in events)
        if count != 1:
            faults.append(f"{what}: {count} events of {kind}")
    return faults


def check_job(job, address, watched, episodes, expected, folder):
    """Compares what the server has of the job, and what a client has watched of it, with the undisturbed run; returns what
    is wrong."""
    server = ["--server", address, "--connect-timeout", 30]
    events = json_lines(output_of("watch", job, "--json", *server))
    state, message = events[-1]["state"], events[-1]["message"]
    if state != "JOB_STATE_SUCCEEDED":
        return [f"the job ended as {state}: {message}"]
    faults = check_events(events, episodes, "events, replayed")
    if watched != events:
        faults += check_events(watched, episodes, "events, watched") or ["watched and replayed events differ"]
    history = output_of("history", job, "--canonical", *server)
    faults.append(difference("canonical history", expected.history, history))
    numbers = [int(episode["number"]) for episode in json_lines(output_of("history", job, "--json", *server))]
    if numbers != list(range(episodes)):
        faults.append(f"history: {len(numbers)} episodes of {episodes}, or not in order")
    best = without_times(json.loads(output_of("best", job, "--json", *server)))
    faults.append(difference("best", json.dumps(expected.best, indent=1), json.dumps(best, indent=1)))
    output_of("export", job, "-o", f"{folder}/model.onnx", *server)
    with open(f"{folder}/model.onnx", "rb") as file:
        if file.read() != expected.model:
            faults.append("the network is not the undisturbed one")
    return list(filter(None, faults))


def check_database(path):
    with sqlite3.connect(path) as database:
        said = database.execute("PRAGMA integrity_check").fetchall()
    return [] if said == [("ok",)] else [f"{path}: {said}"]
