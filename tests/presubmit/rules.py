"""The repository's rules as functions: each takes a tree's root and returns one line for each thing that breaks it."""

import ast
import pathlib
import re
import shutil
import subprocess

CODE_FOLDERS = ("kernels", "model", "server", "trainer", "client", "bench", "tests")
CPP = (".h", ".cc", ".cu", ".cuh")
SOURCES = CPP + (".py", ".sh", ".bzl", ".proto")

# Who may include (and depend on) whom. bench/ and tests/ may use everything.
MAY_USE = {
    "kernels": {"kernels"},
    "model": {"model", "kernels", "proto"},
    "server": {"server", "model", "kernels", "proto"},
    "trainer": {"trainer", "model", "kernels", "proto"},
    "client": {"client", "proto"},
}
# Headers and //third_party targets that only some folders may use.
ONLY_IN = {
    "torch": {"trainer"},
    "grpc": {"server", "client"},
    "protobuf": {"model", "server", "trainer", "client"},
    "openssl": {"model", "server", "client"},
}
_LIBRARY_OF_HEADER = (
    (re.compile(r"(torch|ATen|c10)/"), "torch"),
    (re.compile(r"grpc(pp)?/"), "grpc"),
    (re.compile(r"google/protobuf/"), "protobuf"),
    (re.compile(r"openssl/"), "openssl"),
)
_LIBRARY_OF_TARGET = {"torch": "torch", "grpc": "grpc", "protobuf": "protobuf", "openssl": "openssl"}
_GENERATED = re.compile(r".*\.pb\.h$")
_INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.MULTILINE)
MAX_LINES = 800


def files(root):
    """Paths of the tree's files, relative to it: what git knows or would add, else all."""
    root = pathlib.Path(root)
    if (root / ".git").exists():
        listed = subprocess.run(["git", "-C", root, "ls-files", "-z", "-co", "--exclude-standard"],
                                check=True, capture_output=True).stdout.decode()
        names = (pathlib.Path(name) for name in listed.split("\0") if name)
        return sorted(name for name in names if (root / name).is_file())
    return sorted(path.relative_to(root) for path in root.rglob("*") if path.is_file())


def _cpp_files(root):
    return [f for f in files(root) if f.suffix in CPP and f.parts[0] in CODE_FOLDERS]


def _forbidden_library(library, folder):
    return library in ONLY_IN and folder in MAY_USE and folder not in ONLY_IN[library]


def include_rules(root):
    troubles = []
    for file in _cpp_files(root):
        folder = file.parts[0]
        for include in _INCLUDE.findall((pathlib.Path(root) / file).read_text()):
            used = "proto" if _GENERATED.match(include) else include.split("/")[0]
            is_ours = used == "proto" or used in CODE_FOLDERS
            if folder in MAY_USE and is_ours and used not in MAY_USE[folder]:
                troubles.append(f"{file}: {folder}/ may not include {include}")
            if used == "proto":
                continue
            for pattern, library in _LIBRARY_OF_HEADER:
                if pattern.match(include) and _forbidden_library(library, folder):
                    troubles.append(f"{file}: {folder}/ may not use {library} ({include})")
    return troubles


class Rule:
    """One rule of a BUILD file: its kind, name and literal attributes."""

    def __init__(self, file, call):
        self.file = file
        self.kind = call.func.id
        self.attributes = {}
        for keyword in call.keywords:
            try:
                self.attributes[keyword.arg] = ast.literal_eval(keyword.value)
            except ValueError:
                pass  # not a literal, such as a concatenation with a variable

    def __str__(self):
        return f"//{self.file.parent}:{self.attributes.get('name', '?')}"

    def paths(self, attribute):
        return [self.file.parent / name for name in self.attributes.get(attribute, [])]


def _build_files(root):
    return [f for f in files(root) if f.name in ("BUILD", "BUILD.bazel") and len(f.parts) > 1
            and f.parts[0] in CODE_FOLDERS]


def _rules(root):
    """Starlark's BUILD dialect is Python's syntax."""
    for file in _build_files(root):
        tree = ast.parse((pathlib.Path(root) / file).read_text(), str(file))
        for statement in tree.body:
            value = getattr(statement, "value", None)
            if isinstance(value, ast.Call) and isinstance(value.func, ast.Name):
                yield Rule(file, value)


def dependency_rules(root):
    """The include rules again, for what is linked."""
    troubles = []
    for rule in _rules(root):
        folder = rule.file.parts[0]
        if folder not in MAY_USE:
            continue
        for label in rule.attributes.get("deps", []):
            if not label.startswith("//"):
                continue
            package, _, target = label[2:].partition(":")
            used = package.split("/")[0]
            if used == "third_party":
                library = _LIBRARY_OF_TARGET.get(target)
                if _forbidden_library(library, folder):
                    troubles.append(f"{rule}: {folder}/ may not depend on {label}")
            elif used not in MAY_USE[folder]:
                troubles.append(f"{rule}: {folder}/ may not depend on {label}")
    return troubles


def header_targets(root):
    """Every header is the only one of exactly one target."""
    troubles, owners = [], {}
    for rule in _rules(root):
        headers = rule.paths("hdrs")
        if len(headers) > 1:
            troubles.append(f"{rule} has {len(headers)} headers; one target a header")
        for header in headers:
            owners.setdefault(header, []).append(rule)
    for file in _cpp_files(root):
        if file.suffix in (".h", ".cuh") and len(owners.get(file, [])) != 1:
            troubles.append(f"{file} is in hdrs of {len(owners.get(file, []))} targets; expected one")
    return troubles


def source_targets(root):
    """Every source file is built, and every test is a test."""
    troubles = []
    built, tested = set(), set()
    for rule in _rules(root):
        built.update(rule.paths("srcs"))
        if rule.kind.endswith("_test"):
            tested.update(rule.paths("srcs"))
    for file in _cpp_files(root):
        if file.name.endswith(("_test.cc", "_test.cu")):
            if file not in tested:
                troubles.append(f"{file} is in no test target")
            if file.parts[0] != "tests":
                troubles.append(f"{file}: tests stand under tests/")
        elif file.suffix in (".cc", ".cu") and file not in built:
            troubles.append(f"{file} is in no target")
    return troubles


def no_glob(root):
    return [f"{f}: glob(): name the files" for f in _build_files(root)
            if re.search(r"\bglob\s*\(", (pathlib.Path(root) / f).read_text())]


def file_lengths(root):
    troubles = []
    for file in files(root):
        if file.suffix in SOURCES or file.name == "BUILD":
            lines = (pathlib.Path(root) / file).read_text().count("\n")
            if lines > MAX_LINES:
                troubles.append(f"{file} has {lines} lines; at most {MAX_LINES}")
    return troubles


def include_guards(root):
    troubles = []
    for file in _cpp_files(root):
        if file.suffix != ".h":
            continue
        guard = "SIEVE_" + re.sub(r"[^A-Z0-9]", "_", str(file).upper()) + "_"
        text = (pathlib.Path(root) / file).read_text()
        if f"#ifndef {guard}\n#define {guard}\n" not in text:
            troubles.append(f"{file}: the include guard is not {guard}")
    return troubles


def formatting(root):
    program = shutil.which("clang-format-14")
    if program is None:
        return ["clang-format-14 is not installed (deploy/setup.sh --tests installs it)"]
    done = subprocess.run([program, "--dry-run", "-Werror", *_cpp_files(root)], cwd=root,
                          capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return []
    return sorted(set(re.findall(r"^(\S+?):\d+:\d+: error: .*", done.stderr, re.MULTILINE))) or [
        f"clang-format: {done.stderr[:1000]}"]


def shell_syntax(root):
    troubles = []
    for file in files(root):
        text_start = (pathlib.Path(root) / file).open("rb").read(20)
        if file.suffix == ".sh" or text_start.startswith(b"#!/bin/bash"):
            done = subprocess.run(["bash", "-n", pathlib.Path(root) / file], capture_output=True,
                                  text=True, check=False)
            if done.returncode:
                troubles.append(done.stderr.strip())
    return troubles


ALL = (include_rules, dependency_rules, header_targets, source_targets, no_glob, file_lengths,
       include_guards, formatting, shell_syntax)
