#!/usr/bin/env python3
"""Builds the server's image and measures it.

  python3 bench/image.py --out bench/results/image.jsonl
"""

import argparse
import datetime
import json
import pathlib
import subprocess
import tarfile
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent


def contents(archive):
    """(bytes of the layers, their regular files as {path: bytes}, number of Debian packages) of a docker archive."""
    size, files, packages = 0, {}, 0
    with tarfile.open(archive) as outer:
        (image,) = json.load(outer.extractfile("manifest.json"))
        for name in image["Layers"]:
            size += outer.getmember(name).size
            with tarfile.open(fileobj=outer.extractfile(name)) as layer:
                for member in layer:
                    if member.isreg():
                        files[member.name] = member.size
                    if member.name.endswith("var/lib/dpkg/status"):
                        packages = layer.extractfile(member).read().count(b"\nStatus: ")
    return size, files, packages


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, help="file that the line is added to")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        archive = pathlib.Path(folder) / "image.tar"
        began = time.monotonic()
        subprocess.run(["bash", ROOT / "deploy/build_image.sh", "--archive", archive], check=True)
        seconds = time.monotonic() - began
        size, files, packages = contents(archive)
    line = json.dumps({
        "measurement": "image", "bytes": size, "files": len(files),
        "program_bytes": sum(n for path, n in files.items() if "usr/local/bin/" in path),
        "library_bytes": sum(n for path, n in files.items() if ".so" in pathlib.Path(path).name),
        "debian_packages": packages, "build_seconds": round(seconds, 1),
        "date": datetime.date.today().isoformat(), "command": "python3 bench/image.py"})
    print(line)
    if options.out:
        with open(options.out, "a", encoding="utf-8") as out:
            out.write(line + "\n")


if __name__ == "__main__":
    main()
