"""CUDA code as Bazel targets.

    load("//third_party:cuda.bzl", "cuda_binary", "cuda_library", "cuda_test")

Without a toolkit (@cuda//:defs.bzl has CUDA = False) they make no target at all: whoever depends on a cuda_library
does so under `if CUDA`, in as few places as can be.
"""

load("@bazel_tools//tools/cpp:toolchain_utils.bzl", "find_cpp_toolchain")
load("@cuda//:defs.bzl", "CUDA", "NVCC", "NVCC_VERSION")

_OPTIONS = [
    "-std=c++20",
    "--expt-relaxed-constexpr",
    # Machine code for Hopper with its own instructions, for Ampere, and PTX for what is newer.
    "-gencode=arch=compute_90a,code=sm_90a",
    "-gencode=arch=compute_80,code=[sm_80,compute_80]",
    "-lineinfo",
    "-Werror=all-warnings",
    "-Xcompiler=-fPIC,-Wall,-fno-omit-frame-pointer",
]

# Kernels are optimized in a debug build too, or they would be too slow to reach what is looked for; copts = ["-G"] is
# for a library whose kernels are to be stepped through.
_OPTIMIZATION = {
    "dbg": ["-O0", "-g"],
    "fastbuild": ["-O3", "-Xcompiler=-g1"],
    # As Bazel's own C++ rules: assert() is no part of an optimized build.
    "opt": ["-O3", "-Xcompiler=-g1", "-DNDEBUG"],
}

def _include_options(compilation_context):
    quoted = compilation_context.quote_includes.to_list() + compilation_context.includes.to_list()
    system = compilation_context.system_includes.to_list()
    defines = compilation_context.defines.to_list() + compilation_context.local_defines.to_list()
    # nvcc does not know -iquote; the host compiler, which preprocesses for it, does.
    return (["-Xcompiler=-iquote," + folder for folder in quoted] +
            ["-isystem=" + folder for folder in system] +
            ["-D" + define for define in defines])

def _compile(ctx, source, headers, options, compiler):
    object = ctx.actions.declare_file("_nvcc/{}/{}.o".format(ctx.label.name, source.basename))
    inputs = ctx.actions.declare_file(object.basename + ".inputs", sibling = object)
    files = ctx.actions.args()
    files.set_param_file_format("multiline")
    files.add(source)
    files.add_all(headers)
    ctx.actions.write(inputs, files)

    arguments = ctx.actions.args()
    arguments.add_all([ctx.file._script, inputs, source, object])
    arguments.add_all([NVCC, "-ccbin", compiler])
    arguments.add_all(options)
    ctx.actions.run(
        executable = "/bin/bash",
        arguments = [arguments],
        inputs = depset([source, inputs, ctx.file._script], transitive = [headers]),
        outputs = [object],
        # The compiler is outside Bazel's sight: another version must make other objects.
        env = {"NVCC_VERSION": NVCC_VERSION, "PATH": "/usr/bin:/bin"},
        mnemonic = "CudaCompile",
        progress_message = "Compiling " + source.short_path,
    )
    return object

def _cuda_objects_impl(ctx):
    infos = [dep[CcInfo] for dep in ctx.attr.deps]
    context = cc_common.merge_cc_infos(cc_infos = infos).compilation_context
    compiler = find_cpp_toolchain(ctx).compiler_executable

    # nvcc has the toolkit's own headers.
    headers = depset(ctx.files.hdrs + [
        header
        for header in context.headers.to_list()
        if not header.path.startswith("external/cuda/")
    ])
    options = (_OPTIONS + _OPTIMIZATION[ctx.var["COMPILATION_MODE"]] +
               ["-Xcompiler=-iquote,.", "-Xcompiler=-iquote," + ctx.bin_dir.path] +
               _include_options(context) + ctx.attr.copts)
    objects = [_compile(ctx, source, headers, options, compiler) for source in ctx.files.srcs]
    return [DefaultInfo(files = depset(objects))]

_cuda_objects = rule(
    implementation = _cuda_objects_impl,
    attrs = {
        "copts": attr.string_list(),
        "deps": attr.label_list(providers = [CcInfo]),
        "hdrs": attr.label_list(allow_files = True),
        "srcs": attr.label_list(allow_files = [".cu"]),
        "_cc_toolchain": attr.label(default = "@bazel_tools//tools/cpp:current_cc_toolchain"),
        "_script": attr.label(default = "//third_party:nvcc.sh", allow_single_file = True),
    },
    toolchains = ["@bazel_tools//tools/cpp:toolchain_type"],
)

def _is_cuda(source):
    return source.endswith(".cu")

def _compiled(name, srcs, hdrs, deps, copts, testonly):
    """Returns srcs with object files in place of the .cu files."""
    cuda = [source for source in srcs if _is_cuda(source)]
    if not cuda:
        return srcs
    _cuda_objects(
        name = name + "_nvcc",
        srcs = cuda,
        hdrs = hdrs,
        copts = copts,
        testonly = testonly,
        visibility = ["//visibility:private"],
        deps = deps,
    )
    return [source for source in srcs if not _is_cuda(source)] + [name + "_nvcc"]

def cuda_library(name, srcs = [], hdrs = [], deps = [], copts = [], testonly = None, visibility = None):
    """A cc_library with CUDA code; whatever depends on it gets the CUDA runtime too.

    Args:
      name: of the cc_library.
      srcs: .cu files, which nvcc compiles, and others (.cc, headers), which the host compiler does.
      hdrs: as a cc_library's.
      deps: cc_library and cuda_library targets.
      copts: for nvcc; the host compiler's, after -Xcompiler=.
      testonly: as a cc_library's.
      visibility: as a cc_library's.
    """
    if not CUDA:
        return
    headers = hdrs + [source for source in srcs if source.endswith(".h")]
    native.cc_library(
        name = name,
        srcs = _compiled(name, srcs, headers, deps, copts, testonly),
        hdrs = hdrs,
        testonly = testonly,
        visibility = visibility,
        deps = deps + ["@cuda//:cudart"],
    )

def cuda_binary(name, **kwargs):
    """A cc_binary that uses CUDA code.

    Args:
      name: of the cc_binary.
      **kwargs: as a cc_binary's.
    """
    if CUDA:
        native.cc_binary(name = name, **kwargs)

def cuda_test(name, srcs, deps = [], copts = [], tags = [], **kwargs):
    """A GoogleTest test of CUDA code, whose cases skip themselves where no device answers. It has a main function.

    Args:
      name: of the cc_test; tests/gpu.sh finds it by the tag that is added, `cuda`.
      srcs: .cc and .cu files.
      deps: cc_library and cuda_library targets; GoogleTest is added.
      copts: for nvcc.
      tags: as a cc_test's.
      **kwargs: as a cc_test's.
    """
    if not CUDA:
        return
    deps = deps + ["//tests/third_party:cuda_test_main"]
    native.cc_test(
        name = name,
        srcs = _compiled(name, srcs, [], deps, copts, True),
        tags = tags + ["cuda"],
        deps = deps,
        **kwargs
    )
