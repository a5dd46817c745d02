"""Every kept input is run by its target's test: Bazel's list of them is complete."""

import json
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
LOG = """#12 NEW cov: 7 ft: 9 corp: 3/5b
#2000 DONE cov: 303 ft: 570 corp: 23/198b lim: 15 exec/s: 17 rss: 317Mb
Done 2000 runs in 13 second(s)
stat::number_of_executed_units: 2000
stat::average_exec_per_sec:     153
stat::slowest_unit_time_sec:    1
stat::peak_rss_mb:              318
"""


def test_the_list_of_inputs():
    done = subprocess.run([sys.executable, HERE / "update_inputs.py", "--check"], capture_output=True, text=True,
                          check=False)
    assert done.returncode == 0, done.stdout


def test_inputs_are_small():
    for path in [*HERE.glob("corpus/*/*"), *HERE.glob("regressions/*/*")]:
        assert path.stat().st_size <= 32 << 10, path


def test_record(tmp_path):
    log = tmp_path / "log"
    log.write_text(LOG)
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus/a").touch()
    done = subprocess.run(
        [sys.executable, HERE / "record.py", "--target", "gguf", "--log", log, "--status", "77",
         "--corpus", tmp_path / "corpus", "--commit", "abc"], capture_output=True, text=True, check=True, cwd=HERE)
    line = json.loads(done.stdout)
    assert line.pop("load_average") >= 0 and line.pop("cores") >= 1
    assert line == {"target": "gguf", "seconds": 13, "executions": 2000, "executions_per_second": 153,
                    "edges_covered": 303, "features": 570, "corpus_inputs": 1, "peak_rss_mb": 318,
                    "slowest_input_s": 1, "findings": 1,
                    "commit": "abc"}
