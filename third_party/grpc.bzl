"""C++ code for .proto files, made by the installed protoc and its gRPC plugin."""

def cc_grpc_library(name, src, deps = [], visibility = None):
    """Messages and services of one .proto file.

    Args:
      name: of the cc_library.
      src: the .proto file; its package path is the workspace path under proto/.
      deps: cc_grpc_library targets that it imports.
      visibility: of the cc_library.
    """
    stem = src[:-len(".proto")]
    outs = [stem + suffix for suffix in [".pb.h", ".pb.cc", ".grpc.pb.h", ".grpc.pb.cc"]]
    native.genrule(
        name = name + "_protoc",
        srcs = [src],
        outs = outs,
        cmd = "protoc -I proto --cpp_out=$(GENDIR)/proto --grpc_out=$(GENDIR)/proto" +
              " --plugin=protoc-gen-grpc=$$(command -v grpc_cpp_plugin) $(SRCS)",
    )
    native.cc_library(
        name = name,
        srcs = [o for o in outs if o.endswith(".cc")],
        hdrs = [o for o in outs if o.endswith(".h")],
        includes = ["."],
        copts = ["-Wno-unused-parameter", "-Wno-deprecated-declarations"],
        visibility = visibility,
        deps = deps + ["//third_party:grpc"],
    )
