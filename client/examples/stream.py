#!/usr/bin/env python3
"""Streams an answer from a Sieve server; needs nothing of Sieve but the public .proto file.

    pip install grpcio grpcio-tools
    python -m grpc_tools.protoc -I proto --python_out=. --grpc_python_out=. proto/sieve/v1/generation.proto
    python client/examples/stream.py "Why is the sky blue?"

Run from the folder with the generated `sieve/`, or with that folder on PYTHONPATH.
"""

import os
import sys

import grpc

sys.path.insert(0, os.getcwd())
from sieve.v1 import generation_pb2 as pb  # noqa: E402
from sieve.v1 import generation_pb2_grpc as pb_grpc  # noqa: E402


def main():
    question = sys.argv[1] if len(sys.argv) > 1 else "Why is the sky blue?"
    address = os.environ.get("SIEVE_ADDRESS", "127.0.0.1:50051")
    request = pb.GenerateRequest(
        chat=pb.Chat(messages=[pb.ChatMessage(role=pb.ChatMessage.ROLE_USER, content=question)]),
        sampling=pb.SamplingParams(temperature=0.7, top_p=0.95, seed=1),
        stop=pb.StopParams(max_tokens=200),
    )
    with grpc.insecure_channel(address) as channel:
        # Breaking out of the loop, or events.cancel(), frees everything that the request holds.
        events = pb_grpc.GenerationStub(channel).Generate(request, timeout=60)
        for event in events:
            if event.HasField("delta"):
                print(event.delta.text, end="", flush=True)
            elif event.HasField("finished"):
                usage = event.finished.usage
                print(f"\n[{usage.prompt_tokens} prompt tokens, {usage.generated_tokens} generated]")


if __name__ == "__main__":
    try:
        main()
    except grpc.RpcError as error:
        sys.exit(f"{error.code().name}: {error.details()}")
