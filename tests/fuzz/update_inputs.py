#!/usr/bin/env python3
"""Rewrites inputs.bzl, the list of the kept inputs of each fuzz target. With --check only says whether it is right."""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent


def listing():
    lines = ['"""The kept inputs of each fuzz target (written by update_inputs.py)."""', "", "INPUTS = {"]
    for target in sorted(path.name for path in (HERE / "corpus").iterdir()):
        lines.append(f'    "{target}": [')
        for kind in ("corpus", "regressions"):
            lines += [f'        "{path.relative_to(HERE)}",' for path in sorted((HERE / kind / target).glob("*"))]
        lines.append("    ],")
    return "\n".join(lines + ["}", ""])


def main():
    path = HERE / "inputs.bzl"
    if "--check" not in sys.argv:
        path.write_text(listing())
        return 0
    if path.read_text() == listing():
        return 0
    print(f"{path} is out of date: run python3 {pathlib.Path(__file__).name}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
