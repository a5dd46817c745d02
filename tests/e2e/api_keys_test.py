"""API keys: who may call what, and keys that come and go while the server runs."""

import json
import os
import subprocess
import time

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from e2e.certificates import Authority
from e2e.harness import pb, request, running_server, sieve, start_that_fails

NO_KEY = ()
UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED


def bearer(key):
    return (("authorization", f"Bearer {key}"),)


def new_key(*flags):
    """(key, entry) of `sieve admin new-key`."""
    done = sieve("admin", "new-key", "--json", *flags)
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    return made["key"], made["entry"]


def write_keys(path, *entries):
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"keys": entries}))
    os.replace(new, path)


class KeyedServer:
    def __init__(self, server, path, key, entry):
        self.server, self.path, self.key, self.entry = server, path, key, entry

    def code(self, metadata, method="GetModel", message=None):
        """Of a call with this metadata."""
        try:
            call = getattr(self.server.stub, method)(
                message or pb.GetModelRequest(), metadata=metadata, timeout=20)
            if method == "Generate":
                for _ in call:
                    pass
            return grpc.StatusCode.OK
        except grpc.RpcError as error:
            return error.code()

    def wait_for(self, metadata, code):
        deadline = time.monotonic() + 15
        while self.code(metadata) != code:
            assert time.monotonic() < deadline, f"still not {code} after 15 s:\n{self.server.log()}"
            time.sleep(0.1)


@pytest.fixture(scope="module")
def keyed(model_file, tmp_path_factory):
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    key, entry = new_key("--tenant=acme", "--weight=2")
    write_keys(path, entry)
    with running_server(f"--api_keys={path}", "--log_level=debug", "--kv_cache_mb=64") as server:
        yield KeyedServer(server, path, key, entry)


METHODS = {
    "Generate": request(max_tokens=1),
    "GenerateOnce": request(max_tokens=1),
    "EstimateCost": request(max_tokens=1),
    "Tokenize": pb.TokenizeRequest(text=pb.TextPrompt(text=b"hello")),
    "Detokenize": pb.DetokenizeRequest(token_ids=[1]),
    "GetModel": pb.GetModelRequest(),
    "LoadAdapter": pb.LoadAdapterRequest(name="none"),
    "UnloadAdapter": pb.UnloadAdapterRequest(name="none"),
    "ListAdapters": pb.ListAdaptersRequest(),
}
# What a key that is no admin's may not do.
ADMIN_METHODS = ("LoadAdapter", "UnloadAdapter")


def test_every_method_is_known_here():
    assert set(METHODS) == set(pb.DESCRIPTOR.services_by_name["Generation"].methods_by_name)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_asks_for_a_key(keyed, method):
    message = METHODS[method]
    for metadata in (NO_KEY, bearer(""), bearer("wrong"), bearer(keyed.key + "x"),
                     bearer(keyed.entry["sha256"]), (("x-api-key", "wrong"),),
                     (("authorization", keyed.key),), (("x-sieve-tenant", "acme"),)):
        assert keyed.code(metadata, method, message) == UNAUTHENTICATED, metadata
    allowed = grpc.StatusCode.PERMISSION_DENIED if method in ADMIN_METHODS else grpc.StatusCode.OK
    for metadata in (bearer(keyed.key), (("x-api-key", keyed.key),)):
        assert keyed.code(metadata, method, message) == allowed


def test_health_is_open(keyed):
    stub = health_pb2_grpc.HealthStub(keyed.server.channel)
    response = stub.Check(health_pb2.HealthCheckRequest(), timeout=10)
    assert response.status == health_pb2.HealthCheckResponse.SERVING


def reflect(channel, metadata):
    """Names of the services, as the server tells them."""
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    question = reflection_pb2.ServerReflectionRequest(list_services="")
    answers = list(stub.ServerReflectionInfo(iter([question]), metadata=metadata, timeout=10))
    return {service.name for answer in answers for service in answer.list_services_response.service}


def test_reflection_only_with_a_key(keyed):
    for metadata in (NO_KEY, bearer("wrong")):
        with pytest.raises(grpc.RpcError) as error:
            reflect(keyed.server.channel, metadata)
        assert error.value.code() == UNAUTHENTICATED
    assert "sieve.v1.Generation" in reflect(keyed.server.channel, bearer(keyed.key))


def test_keys_over_tls(model_file, tmp_path):
    authority = Authority(tmp_path, "authority")
    certificate, private_key = authority.issue("server.test")
    key, entry = new_key("--tenant=acme")
    write_keys(tmp_path / "keys.json", entry)
    with running_server(f"--tls_cert={certificate}", f"--tls_key={private_key}", "--kv_cache_mb=64",
                        f"--api_keys={tmp_path}/keys.json",
                        credentials=authority.client_credentials()) as server:
        keyed = KeyedServer(server, None, key, entry)
        assert keyed.code(NO_KEY) == UNAUTHENTICATED
        assert keyed.code(bearer(key)) == grpc.StatusCode.OK
        with pytest.raises(grpc.RpcError):
            reflect(server.channel, NO_KEY)
        assert "sieve.v1.Generation" in reflect(server.channel, bearer(key))


def test_the_client_has_the_key_from_a_file_or_the_environment(keyed, tmp_path, monkeypatch):
    file = tmp_path / "key"
    file.write_text(keyed.key + "\n")
    arguments = ("generate", "--max_tokens=2", "Hello")
    without = sieve(*arguments, address=keyed.server.address)
    assert without.returncode == 1 and "UNAUTHENTICATED" in without.stderr
    for command in (arguments, ("tokenize", "Hello"), ("info",)):
        done = sieve(*command, f"--api_key_file={file}", address=keyed.server.address)
        assert (done.returncode, done.stderr) == (0, "")
    monkeypatch.setenv("SIEVE_API_KEY", keyed.key)
    assert sieve(*arguments, address=keyed.server.address).returncode == 0
    file.write_text("another")  # goes before the environment
    assert sieve(*arguments, f"--api_key_file={file}", address=keyed.server.address).returncode == 1


def test_keys_come_and_go_while_a_stream_runs(keyed):
    added, added_entry = new_key("--tenant=other")
    assert keyed.code(bearer(added)) == UNAUTHENTICATED
    write_keys(keyed.path, keyed.entry, added_entry)
    keyed.wait_for(bearer(added), grpc.StatusCode.OK)

    stream = keyed.server.stub.Generate(request(max_tokens=1500, ignore_eos=True),
                                        metadata=bearer(added), timeout=120)
    next(stream)
    write_keys(keyed.path, keyed.entry)
    keyed.wait_for(bearer(added), UNAUTHENTICATED)
    next(stream)  # what was admitted goes on
    stream.cancel()

    keyed.path.write_text("{")  # half a file: the keys stay
    time.sleep(1.5)
    assert keyed.code(bearer(keyed.key)) == grpc.StatusCode.OK
    assert keyed.code(bearer(added)) == UNAUTHENTICATED
    keyed.server.wait_for_log("stay as they were")
    write_keys(keyed.path, keyed.entry)


def test_keys_are_not_logged(keyed):
    keyed.code(bearer("a-wrong-key-of-somebody"), "Generate", METHODS["Generate"])
    keyed.code(bearer(keyed.key), "Generate", METHODS["Generate"])
    keyed.server.wait_for_log("UNAUTHENTICATED")
    log = keyed.server.log()
    assert keyed.key not in log and "a-wrong-key-of-somebody" not in log


def test_files_that_keep_the_server_from_starting(model_file, tmp_path):
    path = tmp_path / "keys.json"
    _, entry = new_key("--tenant=acme")
    for content, part in (("", "JSON"), ('{"keys": []}', "no keys"),
                          (json.dumps({"keys": [entry, entry]}), "keys[1]"),
                          (json.dumps({"keys": [{**entry, "weight": 0}]}), "weight"),
                          (json.dumps({"keys": [{**entry, "tenant": "a b"}]}), "tenant"),
                          (json.dumps({"keys": [{**entry, "sha256": "abc"}]}), "hex")):
        path.write_text(content)
        status, output = start_that_fails(f"--api_keys={path}", model=model_file)
        assert status == 1 and str(path) in output and part in output, output
    status, output = start_that_fails(f"--api_keys={tmp_path}/none", model=model_file)
    assert status == 1 and f"{tmp_path}/none" in output
    path.write_text(json.dumps({"keys": [entry]}))
    path.chmod(0o666)
    status, output = start_that_fails(f"--api_keys={path}", model=model_file)
    assert status == 1 and "chmod o-w" in output


def test_a_key_made_by_openssl(model_file, tmp_path):
    """The recipe of SECURITY.md, for machines without the client."""
    script = ('key="$(openssl rand -hex 32)"; printf %s "$key"; '
              'printf %s "$key" | openssl dgst -sha256 -r | cut -d" " -f1 >&2')
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    write_keys(tmp_path / "keys.json", {"sha256": done.stderr.strip(), "tenant": "acme"})
    with running_server(f"--api_keys={tmp_path}/keys.json", "--kv_cache_mb=32") as server:
        assert KeyedServer(server, None, "", None).code(bearer(done.stdout)) == grpc.StatusCode.OK


def test_admin_new_key_wants_a_tenant():
    for arguments in (("admin",), ("admin", "new-key"), ("admin", "nothing", "--tenant=a"),
                      ("admin", "new-key", "--tenant=a b"),
                      ("admin", "new-key", "--tenant=a", "--weight=0")):
        assert sieve(*arguments).returncode == 2, arguments
