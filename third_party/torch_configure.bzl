"""The repository @torch: LibTorch as PyPI's torch package has it, or what stands for none.

    @torch//:defs.bzl    TORCH, whether there is one
    @torch//:torch       headers of ATen and autograd, libtorch_cpu and libc10
    @torch//:c10d        the headers of c10d on top, which need many more folders; gloo's are Debian's

In this order:
    $LIBTORCH         a folder with include/ and lib/ where it is set; `none` builds without
    $SIEVE_LIBTORCH   what deploy/setup.sh made

libtorch_cuda is not linked: a program that is to use a GPU opens it when it starts. One that is installed, replaced or
removed is noticed when Bazel's server starts (`bazel shutdown`) or the variables change.
"""

_VARIABLES = ["LIBTORCH", "SIEVE_LIBTORCH"]

# Other folders of include/ hold headers of libraries that the system has too, in other versions: google/protobuf, fmt,
# dnnl.h and more.
_FOLDERS = ["ATen", "c10", "torch"]

# The libraries are found where they are, for they find CUDA's runtime relative to themselves.
_BUILD = """\
package(default_visibility = ["//visibility:public"])

cc_library(
    name = "torch",
    hdrs = glob([
        "include/ATen/**/*.h",
        "include/c10/**/*.h",
        "include/torch/csrc/**/*.h",
        "include/torch/headeronly/**/*.h",
    ]),
    # System headers, whose warnings are not ours.
    includes = ["include"],
    linkopts = [
        "-L{lib}",
        "-Wl,-rpath,{lib}",
        # Kernels register themselves.
        "-Wl,--push-state,--no-as-needed",
        "-ltorch_cpu",
        "-lc10",
        "-Wl,--pop-state",
    ],
)

cc_library(
    name = "c10d",
    hdrs = glob([
        "include/torch/*.h",
        "include/torch/csrc/**/*.hpp",
    ]),
    includes = ["include/torch/csrc/api/include"],
    defines = ["USE_C10D_GLOO"],
    deps = [":torch"],
)
"""

def _find(ctx):
    """The folder of LibTorch, or None."""
    wanted = ctx.os.environ.get("LIBTORCH", "")
    if wanted == "none":
        return None
    for name in _VARIABLES:
        folder = ctx.os.environ.get(name, "")
        if folder:
            for part in ["include/ATen/ATen.h", "lib/libtorch_cpu.so"]:
                if not ctx.path(folder + "/" + part).exists:
                    fail("{} is set, but {} holds no {}. Unset it or build without: LIBTORCH=none".format(name, folder, part))
            return folder
    return None

def _torch_configure_impl(ctx):
    folder = _find(ctx)
    if not folder:
        ctx.file("BUILD", "")
        ctx.file("defs.bzl", "TORCH = False\n")
        return
    for name in _FOLDERS:
        ctx.symlink("{}/include/{}".format(folder, name), "include/" + name)
    ctx.file("BUILD", _BUILD.format(lib = folder + "/lib"))
    ctx.file("defs.bzl", "TORCH = True\n")

torch_configure = repository_rule(
    implementation = _torch_configure_impl,
    configure = True,
    environ = _VARIABLES,
    local = True,
)
