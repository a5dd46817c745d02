"""The repository keeps its rules; and each rule can fail, which a small tree that breaks it shows."""

import pathlib
import shutil

import pytest

from presubmit import rules

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("rule", rules.ALL, ids=lambda rule: rule.__name__)
def test_the_repository(rule):
    troubles = rule(ROOT)
    assert not troubles, "\n".join(troubles)


GUARD = "#ifndef SIEVE_{0}_\n#define SIEVE_{0}_\n#endif  // SIEVE_{0}_\n"
GOOD = {
    "kernels/BUILD": 'cc_library(\n    name = "a",\n    hdrs = ["a.h"],\n)\n',
    "kernels/a.h": GUARD.format("KERNELS_A_H"),
    "model/BUILD": 'cc_library(\n    name = "m",\n    srcs = ["m.cc"],\n    hdrs = ["m.h"],\n'
                   '    deps = ["//kernels:a", "//third_party:absl"],\n)\n',
    "model/m.h": GUARD.format("MODEL_M_H"),
    "model/m.cc": '#include "model/m.h"\n\n#include "absl/strings/str_cat.h"\n'
                  '#include "kernels/a.h"\n#include "sieve/v1/generation.pb.h"\n',
    "tests/model/BUILD": 'cc_test(\n    name = "m_test",\n    srcs = ["m_test.cc"],\n)\n',
    "tests/model/m_test.cc": '#include "server/any.h"\n',
    "deploy/go.sh": "#!/bin/bash\nif true; then echo; fi\n",
    ".clang-format": "BasedOnStyle: Google\nColumnLimit: 100\n",
}


def write_tree(folder, changes):
    for name, text in {**GOOD, **changes}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.mark.parametrize("rule", rules.ALL, ids=lambda rule: rule.__name__)
def test_a_good_tree_passes(rule, tmp_path):
    assert rule(write_tree(tmp_path, {})) == []


KERNEL = GUARD.format("KERNELS_A_H")
BAD = [
    (rules.include_rules, {"kernels/a.h": '#include "model/m.h"\n'}, "kernels/ may not include model/m.h"),
    (rules.include_rules, {"kernels/a.h": '#include "sieve/v1/generation.pb.h"\n'}, "kernels/ may not"),
    (rules.include_rules, {"kernels/a.h": "#include <torch/torch.h>\n"}, "may not use torch"),
    (rules.include_rules, {"kernels/a.h": '#include "google/protobuf/message.h"\n'}, "protobuf"),
    (rules.include_rules, {"model/m.cc": '# include "server/s.h"\n'}, "model/ may not include"),
    (rules.include_rules, {"model/m.cc": '#include "grpcpp/server.h"\n'}, "may not use grpc"),
    (rules.include_rules, {"model/m.cc": '#include "tests/t.h"\n'}, "model/ may not include tests"),
    (rules.include_rules, {"server/s.cc": "#include <ATen/ATen.h>\n"}, "server/ may not use torch"),
    (rules.include_rules, {"client/c.cc": '#include "model/m.h"\n'}, "client/ may not include"),
    (rules.include_rules, {"client/c.cc": '#include "kernels/a.h"\n'}, "client/ may not include"),
    (rules.include_rules, {"trainer/t.cc": '#include "server/s.h"\n'}, "trainer/ may not include"),
    (rules.dependency_rules, {"client/BUILD": 'cc_library(name = "c", deps = ["//model:m"])\n'},
     "//client:c: client/ may not depend on //model:m"),
    (rules.dependency_rules, {"model/x/BUILD": 'cc_library(name = "c", deps = ["//server:s"])\n'},
     "//server:s"),
    (rules.dependency_rules,
     {"server/BUILD": 'cc_library(name = "c", deps = ["//third_party:torch"])\n'}, "torch"),
    (rules.header_targets, {"kernels/b.h": ""}, "kernels/b.h is in hdrs of 0 targets"),
    (rules.header_targets,
     {"kernels/b.h": "", "kernels/BUILD": 'cc_library(name = "a", hdrs = ["a.h", "b.h"])\n'},
     "2 headers"),
    (rules.header_targets,
     {"kernels/BUILD": 'cc_library(name = "a", hdrs = ["a.h"])\ncc_library(name = "b", hdrs = ["a.h"])\n'},
     "2 targets"),
    (rules.source_targets, {"tests/model/n_test.cc": ""}, "tests/model/n_test.cc is in no test"),
    (rules.source_targets, {"tests/model/n_test.cu": ""}, "tests/model/n_test.cu is in no test"),
    (rules.source_targets,
     {"tests/model/BUILD": 'cc_library(name = "m", srcs = ["m_test.cc"])\n'}, "in no test target"),
    (rules.source_targets, {"model/n.cc": ""}, "model/n.cc is in no target"),
    (rules.source_targets,
     {"model/BUILD": 'cc_test(name = "m", srcs = ["m.cc", "m_test.cc"])\n', "model/m_test.cc": ""},
     "under tests/"),
    (rules.no_glob, {"kernels/BUILD": 'cc_library(name = "a", hdrs = glob(["*.h"]))\n'}, "glob()"),
    (rules.file_lengths, {"model/m.cc": "\n" * 801}, "801 lines"),
    (rules.file_lengths, {"tests/long.py": "\n" * 900}, "900 lines"),
    (rules.include_guards, {"kernels/a.h": "#pragma once\n"}, "SIEVE_KERNELS_A_H_"),
    (rules.include_guards, {"kernels/a.h": GUARD.format("MODEL_A_H")}, "SIEVE_KERNELS_A_H_"),
    (rules.formatting, {"model/m.cc": "int  x ;\n"}, "model/m.cc"),
    (rules.shell_syntax, {"deploy/go.sh": "if true; then\n"}, "go.sh"),
    (rules.shell_syntax, {".ci/run": "#!/bin/bash\n(\n"}, ".ci/run"),
]


@pytest.mark.parametrize("rule, changes, part", BAD,
                         ids=[f"{i}-{rule.__name__}" for i, (rule, _, _) in enumerate(BAD)])
def test_a_bad_tree_fails(rule, changes, part, tmp_path):
    troubles = rule(write_tree(tmp_path, changes))
    assert any(part in line for line in troubles), troubles


def test_files_that_git_ignores_do_not_count(tmp_path):
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    write_tree(tmp_path, {".gitignore": "/out/\n", "out/long.py": "\n" * 900})
    assert rules.file_lengths(tmp_path) != []
    rules.subprocess.run(["git", "init", "-q", tmp_path], check=True)
    assert rules.file_lengths(tmp_path) == []
