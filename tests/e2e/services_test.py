"""What is on the port besides Generation: health, reflection; and the metrics."""

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase)

from e2e.harness import request


@pytest.mark.parametrize("service", ["", "sieve.v1.Generation"])
def test_health(server, service):
    stub = health_pb2_grpc.HealthStub(server.channel)
    response = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
    assert response.status == health_pb2.HealthCheckResponse.SERVING


def test_health_of_an_unknown_service(server):
    stub = health_pb2_grpc.HealthStub(server.channel)
    with pytest.raises(grpc.RpcError) as error:
        stub.Check(health_pb2.HealthCheckRequest(service="nobody"), timeout=10)
    assert error.value.code() == grpc.StatusCode.NOT_FOUND


def test_reflection(server):
    database = ProtoReflectionDescriptorDatabase(server.channel)
    assert {"sieve.v1.Generation", "grpc.health.v1.Health"} <= set(database.get_services())
    service = DescriptorPool(database).FindServiceByName("sieve.v1.Generation")
    assert {method.name for method in service.methods} == {
        "Generate", "GenerateOnce", "EstimateCost", "Tokenize", "Detokenize", "GetModel", "LoadAdapter",
        "UnloadAdapter", "ListAdapters"}


def test_get_model(server):
    model = server.model()
    shape = model.shape
    assert shape.architecture == "llama"
    assert (shape.num_layers, shape.hidden_size, shape.num_heads, shape.num_kv_heads) == (30, 576, 9, 3)
    assert (shape.vocabulary_size, shape.context_length) == (49152, 8192)
    assert 130e6 < shape.parameters < 140e6
    assert model.tokenizer.chat_format == "chatml"
    assert 2 in model.tokenizer.eos_token_ids
    assert model.cache.page_tokens == 64
    assert model.cache.bytes_per_page == 64 * model.cache.bytes_per_token
    assert model.cache.total_pages * model.cache.bytes_per_page <= 128 << 20
    assert model.limits.max_context_tokens == 8192
    assert model.server_version


def test_metrics_count_what_happened(server):
    server.wait_until_idle()
    before = server.metrics()
    result = server.collect(request("An unusual beginning: zebras", max_tokens=7, ignore_eos=True))
    server.wait_until_idle()
    after = server.metrics()

    def grown(name):
        return after[name] - before.get(name, 0)

    assert grown("sieve_generated_tokens_total") == 7
    assert (grown('sieve_prompt_tokens_total{source="computed"}')
            + grown('sieve_prompt_tokens_total{source="cached"}') == result.accepted.prompt_tokens)
    assert grown('sieve_requests_total{code="OK"}') == 1
    assert grown("sieve_time_to_first_token_seconds_count") == 1
    assert grown("sieve_inter_token_latency_seconds_count") == 6
    assert grown('sieve_engine_step_seconds_count{phase="forward"}') >= 7
    assert after['sieve_memory_bytes{device="host",purpose="weights"}'] > 80e6
