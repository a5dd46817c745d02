"""A fuzz target, built twice: as a libFuzzer program and as an ordinary test over the kept inputs."""

load(":inputs.bzl", "INPUTS")

def fuzz_target(name, srcs, deps, mutator = []):
    """Makes <name>_fuzz_test, and <name>_fuzzer where --config=fuzz asks for it.

    Args:
      name: of the target, and of its folders under corpus/ and regressions/.
      srcs: defines LLVMFuzzerTestOneInput.
      deps: of srcs.
      mutator: libraries that only the libFuzzer program takes.
    """
    native.cc_library(
        name = name + "_fuzz",
        srcs = srcs,
        alwayslink = True,
        deps = deps,
    )
    native.cc_test(
        name = name + "_fuzz_test",
        size = "small",
        args = [name],
        data = INPUTS[name],
        deps = [
            ":" + name + "_fuzz",
            ":replay_main",
        ],
    )
    native.cc_binary(
        name = name + "_fuzzer",
        linkopts = ["-fsanitize=fuzzer"],
        tags = ["manual"],
        deps = [":" + name + "_fuzz"] + mutator,
    )
