"""Code that uses LibTorch, as Bazel targets.

    load("//third_party:torch.bzl", "torch_binary", "torch_library", "torch_test")

Without LibTorch (@torch//:defs.bzl has TORCH = False; deploy/setup.sh --trainer installs it) they make no target at all.
Only trainer/ and its tests use them.
"""

load("@cuda//:defs.bzl", "CUDA")
load("@torch//:defs.bzl", "TORCH")

def torch_library(name, deps = [], **kwargs):
    """A cc_library.

    Args:
      name: of the cc_library.
      deps: cc_library and torch_library targets; LibTorch is added.
      **kwargs: as a cc_library's.
    """
    if TORCH:
        native.cc_library(name = name, deps = deps + ["@torch//:torch"], **kwargs)

def torch_cuda_library(name, **kwargs):
    """A torch_library that uses cuda_library targets: there where both LibTorch and a CUDA toolkit are.

    Args:
      name: of the cc_library.
      **kwargs: as a torch_library's.
    """
    if CUDA:
        torch_library(name = name, **kwargs)

def torch_binary(name, **kwargs):
    """A cc_binary that uses torch_library targets.

    Args:
      name: of the cc_binary.
      **kwargs: as a cc_binary's.
    """
    if TORCH:
        native.cc_binary(name = name, **kwargs)

def torch_test(name, deps = [], env = {}, **kwargs):
    """A GoogleTest test that uses torch_library targets.

    LibTorch computes on one thread: tests run beside each other, and its threads wait for each other busily.

    Args:
      name: of the cc_test.
      deps: cc_library and torch_library targets.
      env: as a cc_test's.
      **kwargs: as a cc_test's.
    """
    if TORCH:
        native.cc_test(name = name, deps = deps, env = dict({"OMP_NUM_THREADS": "1"}, **env), **kwargs)
