"""The repository @cuda: the toolkit that find_cuda.sh finds, or what stands for none.

    @cuda//:defs.bzl    CUDA, whether there is one; its nvcc and version
    @cuda//:headers     the runtime's headers, for C++ that the host compiler compiles
    @cuda//:cudart      with the runtime itself, linked statically

Nothing links the driver: the runtime finds it when a program starts, and cudaGetDriverEntryPoint finds its functions.
A toolkit that is installed, replaced or removed is noticed when Bazel's server starts (`bazel shutdown`) or the
variables below change.
"""

_VARIABLES = ["CUDA_HOME", "SIEVE_CUDA_TOOLKIT"]

_DEFS = """\
CUDA = {found}
NVCC = "{nvcc}"
NVCC_VERSION = "{version}"
"""

# Headers of other libraries in the same folder do no harm. Those of libcu++ and CUB (include/cccl) are nvcc's alone.
_BUILD = """\
package(default_visibility = ["//visibility:public"])

cc_library(
    name = "headers",
    hdrs = glob([
        "include/*.h",
        "include/*.hpp",
        "include/cooperative_groups/**",
        "include/crt/**",
        "include/nv/**",
    ]),
    # System headers, whose warnings are not ours.
    includes = ["include"],
)

cc_library(
    name = "cudart",
    srcs = ["libcudart_static.a"],
    linkopts = [
        "-ldl",
        "-lrt",
        "-lpthread",
    ],
    deps = [":headers"],
)
"""

def _runtime(ctx, toolkit):
    for folder in ["lib64", "lib", "targets/x86_64-linux/lib"]:
        path = ctx.path("{}/{}/libcudart_static.a".format(toolkit, folder))
        if path.exists:
            return path
    fail("the CUDA toolkit {} has no libcudart_static.a: install its runtime (cudart) as well".format(toolkit))

def _cuda_configure_impl(ctx):
    environment = {name: ctx.os.environ.get(name, "") for name in _VARIABLES}
    found = ctx.execute(["bash", ctx.path(ctx.attr._finder)], environment = environment)
    if found.return_code != 0:
        fail(found.stderr)
    toolkit = found.stdout.strip()
    if not toolkit:
        ctx.file("BUILD", "")
        ctx.file("defs.bzl", _DEFS.format(found = False, nvcc = "", version = ""))
        return
    nvcc = toolkit + "/bin/nvcc"
    version = ctx.execute([nvcc, "--version"]).stdout.strip().split("\n")[-1]
    ctx.symlink(toolkit + "/include", "include")
    ctx.symlink(_runtime(ctx, toolkit), "libcudart_static.a")
    ctx.file("BUILD", _BUILD)
    ctx.file("defs.bzl", _DEFS.format(found = True, nvcc = nvcc, version = version))

cuda_configure = repository_rule(
    implementation = _cuda_configure_impl,
    attrs = {"_finder": attr.label(default = "//third_party:find_cuda.sh", allow_single_file = True)},
    configure = True,
    environ = _VARIABLES,
    local = True,
)
