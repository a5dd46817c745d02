#!/usr/bin/env python3
"""Adds up test results and prints "N passed, N failed" (", N skipped" when there are any).

The results are JUnit XML files: pytest writes one, and Bazel one for each test target, named in its build
event file. A Bazel target that failed without saying which case did (a crash, a time limit, a build error) counts
as one failed test. Exits with 1 when something failed, and when no test passed.
"""

import argparse
import dataclasses
import json
import pathlib
import sys
import urllib.parse
import xml.etree.ElementTree as ElementTree


@dataclasses.dataclass
class Tally:
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other):
        return Tally(self.passed + other.passed, self.failed + other.failed,
                     self.skipped + other.skipped)

    def __str__(self):
        text = f"{self.passed} passed, {self.failed} failed"
        return text + f", {self.skipped} skipped" if self.skipped else text


def tally_junit(path):
    """Counts the test cases of one JUnit XML file. Raises OSError or ParseError when it is not one."""
    tally = Tally()
    for case in ElementTree.parse(path).iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            tally.failed += 1
        elif case.find("skipped") is not None or case.get("status") == "notrun":
            tally.skipped += 1
        else:
            tally.passed += 1
    return tally


def tally_target(succeeded, xml_paths):
    """Counts one Bazel test target: its XML files, and its own verdict where they know of no failure."""
    tally = Tally()
    for path in xml_paths:
        try:
            tally += tally_junit(path)
        except (OSError, ElementTree.ParseError):
            succeeded = False
    if not succeeded and tally.failed == 0:
        tally.failed = 1
    return tally


def tally_bazel(events_path):
    """Counts the targets of a file written by `bazel test --build_event_json_file`.

    Returns the tally and a line for each target that did not succeed.
    """
    tests = set()      # labels of the test targets that were asked for
    verdicts = {}      # label -> whether every run of it passed
    xml_paths = {}     # label -> its test.xml files
    with open(events_path, encoding="utf-8") as file:
        for line in file:
            event = json.loads(line)
            identity = event.get("id", {})
            if "targetConfigured" in identity and "configured" in event:
                if event["configured"].get("testSize"):
                    tests.add(identity["targetConfigured"]["label"])
            elif "testResult" in identity and "testResult" in event:
                label = identity["testResult"]["label"]
                result = event["testResult"]
                for output in result.get("testActionOutput", []):
                    if output.get("name") == "test.xml":
                        path = urllib.parse.unquote(urllib.parse.urlparse(output["uri"]).path)
                        xml_paths.setdefault(label, []).append(path)
            elif "testSummary" in identity and "testSummary" in event:
                label = identity["testSummary"]["label"]
                verdicts[label] = event["testSummary"].get("overallStatus") == "PASSED"
    tally = Tally()
    troubles = []
    for label in sorted(tests | verdicts.keys()):
        target = tally_target(verdicts.get(label, False), xml_paths.get(label, []))
        if target.failed:
            what = f"{target.failed} failed" if label in verdicts else "was not built or not run"
            troubles.append(f"{label}: {what}")
        tally += target
    return tally, troubles


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bazel", type=pathlib.Path, action="append", default=[],
                        help="build event file (JSON)")
    parser.add_argument("--bazel_status", type=int, default=0, help="exit status of `bazel test`")
    parser.add_argument("--junit", type=pathlib.Path, action="append", default=[],
                        help="JUnit XML file")
    parser.add_argument("--junit_status", type=int, default=0, help="exit status of pytest")
    options = parser.parse_args(arguments)

    total = Tally()
    for path in options.bazel:
        try:
            tally, troubles = tally_bazel(path)
        except (OSError, ValueError) as error:
            tally, troubles = Tally(failed=1), [f"{path}: {error}"]
        # Something else than a test went wrong, such as a library that no test needs.
        if options.bazel_status != 0 and tally.failed == 0:
            tally.failed = 1
            troubles.append(f"bazel test ended with status {options.bazel_status}")
        for line in troubles:
            print(line)
        total += tally
    for path in options.junit:
        tally = tally_target(options.junit_status == 0, [path])
        if tally.failed:
            print(f"pytest: {tally.failed} failed")
        total += tally
    if total.passed == 0 and total.failed == 0:
        print("no test was executed")
    print(total)
    return 0 if total.failed == 0 and total.passed > 0 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
