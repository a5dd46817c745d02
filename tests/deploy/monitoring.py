"""Debian's Prometheus with the committed configuration, pointed at a server of ours."""

import contextlib
import json
import pathlib
import re
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIGURATION = ROOT / "deploy/prometheus/prometheus.yml"
SCRAPE_SECONDS = 1


def configuration(target):
    """The committed configuration, with one target, and a second between scrapes so that a test need not last for minutes."""
    config = yaml.safe_load(CONFIGURATION.read_text())
    config["global"].update(scrape_interval=f"{SCRAPE_SECONDS}s", scrape_timeout=f"{SCRAPE_SECONDS}s",
                            evaluation_interval=f"{SCRAPE_SECONDS}s")
    config["rule_files"] = [str(CONFIGURATION.parent / file) for file in config["rule_files"]]
    (job,) = config["scrape_configs"]
    job["static_configs"] = [{"targets": [target]}]
    return yaml.safe_dump(config)


class Prometheus:
    """A Prometheus process on a free port of loopback, with an empty database of its own."""

    def __init__(self, target):
        self._folder = tempfile.TemporaryDirectory()
        folder = pathlib.Path(self._folder.name)
        (folder / "prometheus.yml").write_text(configuration(target))
        self._log = folder / "log"
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                ["prometheus", f"--config.file={folder}/prometheus.yml",
                 f"--storage.tsdb.path={folder}/data", "--web.listen-address=127.0.0.1:0"],
                stdout=log, stderr=subprocess.STDOUT)
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            address = self._wait_for(lambda: re.search(r'"Listening on" address=(\S+)', self.log()))
            self._url = f"http://{address[1]}"
            self._wait_for(self._ready)
        except BaseException:
            self.stop()
            raise

    def log(self):
        return self._log.read_text(errors="replace")

    def _wait_for(self, condition, seconds=30):
        deadline = time.monotonic() + seconds
        while not (result := condition()):
            assert self._process.poll() is None, f"Prometheus ended:\n{self.log()}"
            assert time.monotonic() < deadline, f"Prometheus is not ready:\n{self.log()}"
            time.sleep(0.05)
        return result

    def _ready(self):
        try:
            with self._opener.open(f"{self._url}/-/ready", timeout=5) as response:
                return response.status == 200
        except urllib.error.HTTPError:
            return False

    def get(self, path, **parameters):
        """`data` of an answer of /api/v1."""
        url = f"{self._url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with self._opener.open(url, timeout=30) as response:
                answer = json.load(response)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from error
        assert answer["status"] == "success" and not answer.get("warnings"), answer
        return answer["data"]

    def query(self, expression, at=None):
        """[(labels, value)] of an expression at a time (default now)."""
        data = self.get("query", query=expression, **({} if at is None else {"time": at}))
        if data["resultType"] == "scalar":
            return [({}, float(data["result"][1]))]
        return [(series["metric"], float(series["value"][1])) for series in data["result"]]

    def query_range(self, expression, start, end, step=SCRAPE_SECONDS):
        """[(labels, [(time, value)])] of an expression over a time."""
        data = self.get("query_range", query=expression, start=start, end=end, step=step)
        return [(series["metric"], [(at, float(value)) for at, value in series["values"]])
                for series in data["result"]]

    def stop(self):
        self._process.terminate()
        try:
            self._process.wait(20)
        finally:
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()
            self._folder.cleanup()


@contextlib.contextmanager
def running_prometheus(server):
    """A Prometheus that scrapes a harness.Server."""
    prometheus = Prometheus(urllib.parse.urlsplit(server.metrics_url).netloc)
    try:
        yield prometheus
    finally:
        prometheus.stop()
