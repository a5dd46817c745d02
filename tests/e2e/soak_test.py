"""The short form of bench/soak.py."""

import os
import signal
import subprocess
import sys

from e2e.harness import ROOT


def test_after_three_minutes_of_everything_the_server_is_as_before(model_file):
    # In a process group of its own, so that its server goes with it.
    with subprocess.Popen([sys.executable, ROOT / "bench/soak.py", "--seconds=180", "--seed=1"],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          start_new_session=True) as soak:
        try:
            output, _ = soak.communicate(timeout=1200)
        finally:
            if soak.poll() is None:
                os.killpg(soak.pid, signal.SIGKILL)
    assert soak.returncode == 0, output
