#!/usr/bin/python3
"""Compresses a network through a running server, with nothing but the .proto files.

usage: client.py SERVER MODEL.onnx DATA.pack OUT.onnx [BUDGET]      client.py 127.0.0.1:7070 net.onnx photos.pack small.onnx 0.5

Needs Debian's python3-grpcio and python3-protobuf, and the stubs, from this project's folder:
    protoc -Iproto --python_out=STUBS --grpc_python_out=STUBS \
        --plugin=protoc-gen-grpc_python=/usr/bin/grpc_python_plugin proto/amc/v1/*.proto
    PYTHONPATH=STUBS docs/examples/client.py ...
"""
import hashlib
import os
import sys
import uuid

import grpc
from amc.v1 import artifact_pb2, artifact_pb2_grpc, job_pb2, job_pb2_grpc, model_pb2

CHUNK = 1 << 20


def upload(artifacts, path, kind):
    """Sends a file; returns its digest, by which jobs name it."""
    with open(path, "rb") as file:
        data = file.read()
    header = artifact_pb2.Artifact(digest=hashlib.sha256(data).hexdigest(), size=len(data), kind=kind,
                                   name=os.path.basename(path))

    def messages():
        yield artifact_pb2.UploadArtifactRequest(header=header)
        for at in range(0, len(data), CHUNK):
            yield artifact_pb2.UploadArtifactRequest(chunk=data[at:at + CHUNK])

    return artifacts.UploadArtifact(messages()).digest


def main():
    server, model, pack, out = sys.argv[1:5]
    channel = grpc.insecure_channel(server)
    jobs, artifacts = job_pb2_grpc.JobServiceStub(channel), artifact_pb2_grpc.ArtifactServiceStub(channel)

    spec = job_pb2.JobSpec(model=upload(artifacts, model, artifact_pb2.ARTIFACT_KIND_MODEL),
                           data=upload(artifacts, pack, artifact_pb2.ARTIFACT_KIND_DATA))
    spec.budget.ratio = float(sys.argv[5]) if len(sys.argv) > 5 else 0.5
    spec.search.agent = os.environ.get("AGENT", "hybrid")
    spec.search.episodes = int(os.environ.get("EPISODES", 200))  # what it may cost, in full evaluations
    # The request id makes submitting idempotent: after a lost answer, send the same again.
    job = jobs.SubmitJob(job_pb2.SubmitJobRequest(request_id=str(uuid.uuid4()), spec=spec))
    print("job", job.id)

    # Watch: stored events first, then as they come. After a cut, go on after the last sequence seen.
    for event in jobs.WatchJob(job_pb2.WatchJobRequest(id=job.id)):
        if event.kind == job_pb2.EVENT_KIND_EPISODE:
            print(f"episode {event.episode.number}: reward {event.episode.reward:.4f}, best {event.best_reward:.4f}")
    job = jobs.GetJob(job_pb2.GetJobRequest(id=job.id))
    if job.state != job_pb2.JOB_STATE_SUCCEEDED:
        sys.exit(f"job {job.id}: {job_pb2.JobState.Name(job.state)}: {job.message}")

    # History: paged, filtered and ordered by the server.
    request = job_pb2.ListEpisodesRequest(job=job.id, page_size=3, order=job_pb2.EPISODE_ORDER_REWARD_DESC)
    request.filter.kinds.append(model_pb2.EPISODE_KIND_CANDIDATE)  # no probes, no screenings
    for episode in jobs.ListEpisodes(request).episodes:
        print(f"top: episode {episode.number}, top-1 {episode.measurement.top1:.4f}, {episode.cost.macs} MACs")

    digest = job.result.model
    chunks = artifacts.DownloadArtifact(artifact_pb2.DownloadArtifactRequest(digest=digest))
    data = b"".join(message.chunk for message in chunks)
    if hashlib.sha256(data).hexdigest() != digest:
        sys.exit(f"{digest}: the bytes that came are others")
    with open(out, "wb") as file:
        file.write(data)
    before, after = job.result.original, job.result.compressed
    print(f"{out}: top-1 {before.top1:.4f} -> {after.top1:.4f}, MACs {before.cost.macs} -> {after.cost.macs}")


if __name__ == "__main__":
    if len(sys.argv) < 5:
        sys.exit(__doc__)
    main()
