"""The short form of bench/soak.py."""

import subprocess
import sys

from e2e.harness import ROOT


def test_after_three_minutes_of_everything_the_server_is_as_before(model_file):
    done = subprocess.run([sys.executable, ROOT / "bench/soak.py", "--seconds=180"],
                          capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
