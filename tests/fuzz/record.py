#!/usr/bin/env python3
"""Prints what a libFuzzer log says as one JSON line."""

import argparse
import json
import os
import pathlib
import re


def last(pattern, text, default=0):
    found = re.findall(pattern, text)
    return int(found[-1]) if found else default


def summary(target, log, status, corpus):
    return {
        "target": target,
        "seconds": last(r"Done \d+ runs in (\d+) second", log),
        "executions": last(r"stat::number_of_executed_units:\s+(\d+)", log),
        "executions_per_second": last(r"stat::average_exec_per_sec:\s+(\d+)", log),
        "edges_covered": last(r"cov: (\d+)", log),
        "features": last(r"ft: (\d+)", log),
        "corpus_inputs": corpus,
        "peak_rss_mb": last(r"stat::peak_rss_mb:\s+(\d+)", log),
        "slowest_input_s": last(r"stat::slowest_unit_time_sec:\s+(\d+)", log),
        "findings": int(status != 0),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", required=True)
    parser.add_argument("--log", type=pathlib.Path, required=True)
    parser.add_argument("--status", type=int, required=True, help="exit status of the fuzzer")
    parser.add_argument("--corpus", type=pathlib.Path, required=True)
    parser.add_argument("--commit", required=True, help="what was built")
    options = parser.parse_args()
    line = summary(options.target, options.log.read_text(errors="replace"), options.status,
                   sum(1 for _ in options.corpus.iterdir()))
    # Of the last 15 minutes: how much of a core a run had.
    print(json.dumps({**line, "load_average": round(os.getloadavg()[2], 1), "cores": os.cpu_count(),
                      "commit": options.commit}))


if __name__ == "__main__":
    main()
