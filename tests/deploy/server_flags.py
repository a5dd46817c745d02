"""Whether the flags that a deployment gives are ones that the server takes."""

import contextlib
import re
import subprocess

from e2e import harness


def known():
    """Names of the flags in `sieve_server --help`."""
    help_text = subprocess.run([harness.SERVER, "--help"], capture_output=True, text=True, check=False).stdout
    return set(re.findall(r"^\s+--(\w+)", help_text, re.MULTILINE))


def parse(arguments):
    """{name: value} of `--name=value` arguments; "true" for one without a value."""
    flags = {}
    for argument in arguments:
        match = re.fullmatch(r"--(\w+)(?:=(.*))?", argument)
        assert match, f"{argument!r} is not a flag"
        assert match[1] not in flags, f"--{match[1]} twice"
        flags[match[1]] = "true" if match[2] is None else match[2]
    return flags


def seconds(duration):
    """"90s" -> 90"""
    match = re.fullmatch(r"(\d+)(s|m)", duration)
    assert match, f"{duration!r}: expected whole seconds or minutes"
    return int(match[1]) * {"s": 1, "m": 60}[match[2]]


def port(address):
    return int(address.rpartition(":")[2])


@contextlib.contextmanager
def started(flags, files=()):
    """The server with these flags, but for the default model and free ports of loopback; `files` are flags whose
    paths exist elsewhere: {name: path}."""
    own = {"model": harness.model_path(), "listen": "127.0.0.1:0", "metrics_listen": "127.0.0.1:0",
           "kv_cache_mb": 64, **dict(files)}
    with harness.running_server(*(f"--{name}={own.get(name, value)}"
                                  for name, value in flags.items())) as server:
        yield server
