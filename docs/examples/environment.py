#!/usr/bin/python3
"""Drives an environment with an agent of its own: stepping costs the server no evaluation.

usage: environment.py SERVER MODEL.onnx [BUDGET] [EPISODES]      (stubs as for client.py, beside this file)

The agent here draws random preserve ratios; the environment turns each into a channel count with which the budget stays
within reach, so that every episode lands on it.
"""
import random
import sys

import grpc
from amc.v1 import artifact_pb2, artifact_pb2_grpc, environment_pb2, environment_pb2_grpc

from client import upload


def main():
    server, model = sys.argv[1:3]
    channel = grpc.insecure_channel(server)
    environments = environment_pb2_grpc.EnvironmentServiceStub(channel)
    digest = upload(artifact_pb2_grpc.ArtifactServiceStub(channel), model, artifact_pb2.ARTIFACT_KIND_MODEL)

    request = environment_pb2.CreateEnvironmentRequest(model=digest)
    request.budget.ratio = float(sys.argv[3]) if len(sys.argv) > 3 else 0.5
    env = environments.CreateEnvironment(request)
    print(f"{len(env.groups)} groups, observations of {', '.join(env.features)}")

    random.seed(0)
    for episode in range(int(sys.argv[4]) if len(sys.argv) > 4 else 5):
        observation = environments.Reset(environment_pb2.ResetRequest(environment=env.environment)).observation
        done = False
        while not done:
            assert len(observation) == len(env.features)
            action = random.uniform(0.2, 1)  # your agent: a function of the observation
            step = environments.Step(environment_pb2.StepRequest(environment=env.environment, actions=[action]))
            observation, done = step.outcomes[0].observation, step.outcomes[0].done
        kept = " ".join(str(decision.kept) for decision in step.policy.decisions)
        print(f"episode {episode}: {step.cost.macs} of {env.budget_limit} MACs, keeping {kept}")
    environments.CloseEnvironment(environment_pb2.CloseEnvironmentRequest(environment=env.environment))


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main()
