"""TLS and mutual TLS, as operators set them up and clients meet them."""

import os
import socket
import ssl
import time

import grpc
import pytest

from e2e.certificates import Authority
from e2e.harness import pb, pb_grpc, request, running_server, sieve, start_that_fails


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"), "one")


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"), "two")


def tls_flags(pair):
    return f"--tls_cert={pair[0]}", f"--tls_key={pair[1]}"


def replace(path, source):
    """The file in one step, as certificate managers do it."""
    new = path.with_suffix(".new")
    new.write_bytes(source.read_bytes())
    os.replace(new, path)


def code_of_call(server, credentials=None, timeout=15):
    """Of a call over a new connection; without credentials: in plaintext."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
    channel = (grpc.secure_channel(server.address, credentials, options) if credentials
               else grpc.insecure_channel(server.address, options))
    with channel:
        try:
            pb_grpc.GenerationStub(channel).GetModel(pb.GetModelRequest(), timeout=timeout)
            return grpc.StatusCode.OK
        except grpc.RpcError as error:
            return error.code()


@pytest.fixture(scope="module")
def tls_server(model_file, authority):
    with running_server(*tls_flags(authority.issue("server.test")), "--kv_cache_mb=64",
                        credentials=authority.client_credentials()) as server:
        yield server


def test_an_answer_over_tls(tls_server):
    assert tls_server.tokens(request(max_tokens=5, ignore_eos=True))


def test_who_does_not_trust_the_server_gets_nothing(tls_server, other):
    assert code_of_call(tls_server, other.client_credentials()) == grpc.StatusCode.UNAVAILABLE


def test_plaintext_gets_nothing(tls_server):
    assert code_of_call(tls_server) == grpc.StatusCode.UNAVAILABLE
    with socket.create_connection(("127.0.0.1", tls_server.port), timeout=10) as plain:
        plain.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
        answer = plain.recv(4096)
    assert answer == b"" or answer[0] == 0x15  # closed, or a TLS alert; no HTTP/2 frame
    assert code_of_call(tls_server, tls_server.credentials) == grpc.StatusCode.OK


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
@pytest.mark.parametrize("version, spoken", [
    (ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_3, True)])
def test_versions(tls_server, version, spoken):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("DEFAULT:@SECLEVEL=0")  # so that it is the server who refuses
    context.set_alpn_protocols(["h2"])
    context.minimum_version = ssl.TLSVersion.TLSv1_1
    context.maximum_version = version
    with socket.create_connection(("127.0.0.1", tls_server.port), timeout=10) as plain:
        if spoken:
            with context.wrap_socket(plain) as secure:
                assert secure.version() == version.name.replace("_", ".")
        else:
            # Not "no protocols available", with which the client itself would give up.
            with pytest.raises(ssl.SSLError, match="(?i)EOF|alert"):
                context.wrap_socket(plain)


def test_the_client(tls_server, authority, other):
    def generate(*flags):
        return sieve("generate", "--max_tokens=3", "--timeout=20s", *flags, "Hello",
                     address=tls_server.address)

    good = generate(f"--tls_ca={authority.certificate}")
    assert (good.returncode, good.stderr) == (0, "")
    named = generate(f"--tls_ca={authority.certificate}", "--tls_server_name=server.test")
    assert named.returncode == 0
    for flags in ((), ("--tls",), (f"--tls_ca={other.certificate}",),
                  (f"--tls_ca={authority.certificate}", "--tls_server_name=elsewhere.test")):
        assert generate(*flags).returncode == 3, flags
    assert generate("--tls_ca=/no/such/file").returncode == 2


def test_mutual_tls(model_file, authority, other):
    flags = tls_flags(authority.issue("mutual.test"))
    own = other.issue("client")
    with running_server(*flags, f"--tls_client_ca={other.certificate}", "--kv_cache_mb=64",
                        credentials=authority.client_credentials(own)) as server:
        assert server.tokens(request(max_tokens=2, ignore_eos=True))
        for credentials in (authority.client_credentials(), None,
                            authority.client_credentials(authority.issue("stranger"))):
            assert code_of_call(server, credentials) == grpc.StatusCode.UNAVAILABLE
        done = sieve("info", f"--tls_ca={authority.certificate}", f"--tls_cert={own[0]}",
                     f"--tls_key={own[1]}", address=server.address)
        assert done.returncode == 0, done.stderr


def test_new_certificates_are_taken_while_a_stream_runs(model_file, tmp_path, authority, other):
    certificate, key = tmp_path / "server.crt", tmp_path / "server.key"
    old, new = authority.issue("old.test"), other.issue("new.test")
    replace(certificate, old[0])
    replace(key, old[1])
    with running_server(*tls_flags((certificate, key)), "--kv_cache_mb=128",
                        credentials=authority.client_credentials()) as server:
        stream = server.stub.Generate(request(max_tokens=2000, ignore_eos=True), timeout=120)
        next(stream)
        replace(certificate, new[0])
        replace(key, new[1])
        deadline = time.monotonic() + 15
        while code_of_call(server, other.client_credentials()) != grpc.StatusCode.OK:
            assert time.monotonic() < deadline, f"not taken after 15 s:\n{server.log()}"
            time.sleep(0.2)
        assert code_of_call(server, authority.client_credentials()) == grpc.StatusCode.UNAVAILABLE
        for _ in range(20):
            next(stream)  # over the connection that was there before
        stream.cancel()
        server.wait_for_log("CN=new.test")

        # A key of another certificate: whoever connects is still served with the pair before.
        replace(key, old[1])
        time.sleep(1.5)
        assert code_of_call(server, other.client_credentials()) == grpc.StatusCode.OK
        server.wait_for_log("stay as they were")


def test_files_that_keep_the_server_from_starting(model_file, tmp_path, authority):
    pair, stranger = authority.issue("bad.test"), authority.issue("stranger.test")
    text = tmp_path / "text.pem"
    text.write_text("no PEM")
    for flags, part in (
            (tls_flags((pair[0], stranger[1])), "is not the private key"),
            (tls_flags((pair[0], tmp_path / "nothing.key")), "nothing.key"),
            (tls_flags((tmp_path / "nothing.crt", pair[1])), "nothing.crt"),
            (tls_flags((text, pair[1])), "no certificate"),
            ((*tls_flags(pair), f"--tls_client_ca={text}"), "no certificate")):
        status, output = start_that_fails(*flags, model=model_file)
        assert status == 1 and part in output, (flags, output)
    for flags in ((f"--tls_cert={pair[0]}",), (f"--tls_key={pair[1]}",),
                  (f"--tls_client_ca={pair[0]}",)):
        status, output = start_that_fails(*flags, model=model_file)
        assert status == 2 and "--tls_cert" in output and "--tls_key" in output, output


def test_other_machines_only_with_tls_or_a_word(model_file, authority):
    for flag, advice in (("--listen=0.0.0.0:0", "--tls_cert"), ("--listen=[::]:0", "--insecure"),
                         ("--metrics_listen=0.0.0.0:0", "--metrics_public")):
        status, output = start_that_fails(flag, model=model_file)
        assert status == 2 and advice in output, output
    tls = tls_flags(authority.issue("public.test"))
    status, output = start_that_fails(*tls, "--metrics_listen=0.0.0.0:0", model=model_file)
    assert status == 2 and "--metrics_public" in output

    with running_server("--listen=0.0.0.0:0", "--insecure", "--kv_cache_mb=32") as server:
        server.wait_for_log("INSECURE")
        server.wait_for_log("whoever reaches it may use it")
    with running_server("--listen=0.0.0.0:0", "--metrics_listen=0.0.0.0:0", "--metrics_public", *tls,
                        "--kv_cache_mb=32", credentials=authority.client_credentials()) as server:
        server.wait_for_log("metrics on 0.0.0.0")
        server.wait_for_log("serving")
        assert "INSECURE" not in server.log()
        assert server.tokens(request(max_tokens=2, ignore_eos=True))
        assert server.metrics()["sieve_requests_running"] == 0
    with running_server("--kv_cache_mb=32") as server:
        server.wait_for_log("serving")
        assert "whoever reaches" not in server.log()  # this machine only: nothing to warn of

