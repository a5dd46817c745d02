import pathlib

import pytest

from e2e import harness

# 87 pages of 64 tokens: enough for every single test, too little for everything at once.
SMALL_CACHE = "--kv_cache_mb=128"


@pytest.fixture(scope="session")
def model_file():
    path = harness.model_path()
    if path is None:
        pytest.skip("no default model: deploy/setup.sh was not run (or SIEVE_CACHE is another one than then)")
    for binary in (harness.SERVER, harness.CLIENT):
        assert pathlib.Path(binary).exists(), f"{binary} is not built"
    return path


@pytest.fixture(scope="session")
def shared_server(model_file):
    with harness.running_server(SMALL_CACHE) as server:
        yield server


@pytest.fixture
def server(shared_server):
    """The server that the tests share. Every test leaves it idle, with every page given back."""
    yield shared_server
    shared_server.wait_until_idle()
