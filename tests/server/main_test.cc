// The server's program as its users run it: flags, errors, ports, signals.

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "sieve/v1/generation.grpc.pb.h"
#include "tests/server/tsan_suppressions.h"
#include "tests/testdata/tiny_llama.h"

namespace sieve {
namespace {

using testing::AllOf;
using testing::EndsWith;
using testing::HasSubstr;

std::string ReadFile(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

// The server's own share of tsan_suppressions.h, which it does not link.
void SetTsanOptions() {
  const std::string path = absl::StrCat(testing::TempDir(), "/tsan_suppressions", getpid());
  std::ofstream(path) << kTsanSuppressions;
  const char* options = getenv("TSAN_OPTIONS");
  setenv("TSAN_OPTIONS", absl::StrCat(options ? options : "", " suppressions=", path).c_str(), 1);
}

// A running sieve_server with its output in files; killed when it is let go.
class Process {
 public:
  explicit Process(const std::vector<std::string>& flags) {
    static int count = 0;
    path_ = absl::StrCat(testing::TempDir(), "/server", getpid(), "-", ++count);
    std::vector<std::string> arguments = {"server/sieve_server"};
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    const std::string out = path_ + ".out", err = path_ + ".err";
    pid_ = fork();
    if (pid_ == 0) {
      if (!freopen(out.c_str(), "w", stdout) || !freopen(err.c_str(), "w", stderr)) _exit(99);
      execv(argv[0], argv.data());
      _exit(99);
    }
  }
  ~Process() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    Wait();
  }

  void Signal(int signal) const { kill(pid_, signal); }

  // Its exit status.
  int Wait() {
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  bool Running() {
    int status = 0;
    if (pid_ > 0 && waitpid(pid_, &status, WNOHANG) == pid_) pid_ = -1;
    return pid_ > 0;
  }

  std::string out() const { return ReadFile(path_ + ".out"); }
  std::string err() const { return ReadFile(path_ + ".err"); }

 private:
  std::string path_;
  pid_t pid_ = -1;
};

class MainTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    SetTsanOptions();
    model_ = testing::TempDir() + "/tiny.gguf";
    ASSERT_TRUE(WriteTinyGguf(model_, TinyLlamaSpec{}).ok());
  }

  // Serves the tiny model on free ports, and waits until it is ready.
  struct Ready {
    std::unique_ptr<Process> process;
    int grpc_port = 0;
    int metrics_port = 0;
  };
  static Ready Serve() {
    const std::string port_file = absl::StrCat(testing::TempDir(), "/ports", getpid());
    std::filesystem::remove(port_file);
    Ready ready;
    ready.process = std::make_unique<Process>(std::vector<std::string>{
        "--model", model_, "--listen=127.0.0.1:0", "--metrics_listen=127.0.0.1:0",
        "--port_file=" + port_file, "--kv_cache_mb=8"});
    while (!std::filesystem::exists(port_file)) {
      if (!ready.process->Running()) {
        ADD_FAILURE() << ready.process->err();
        return ready;
      }
      absl::SleepFor(absl::Milliseconds(5));
    }
    const std::string ports = ReadFile(port_file);
    EXPECT_EQ(
        std::sscanf(ports.c_str(), "grpc=%d metrics=%d\n", &ready.grpc_port, &ready.metrics_port),
        2)
        << ports;
    return ready;
  }

  static std::unique_ptr<v1::Generation::Stub> Client(const Ready& ready) {
    return v1::Generation::NewStub(grpc::CreateChannel(absl::StrCat("127.0.0.1:", ready.grpc_port),
                                                       grpc::InsecureChannelCredentials()));
  }

  // The program ends with `status` and one line on stderr that has `part` in it.
  static void ExpectFails(const std::vector<std::string>& flags, int status,
                          const std::string& part) {
    SCOPED_TRACE(testing::PrintToString(flags));
    Process process(flags);
    EXPECT_EQ(process.Wait(), status);
    const std::string err = process.err();
    EXPECT_THAT(err, AllOf(HasSubstr(part), EndsWith("\n")));
    EXPECT_EQ(std::count(err.begin(), err.end(), '\n'), 1) << err;
    EXPECT_EQ(process.out(), "");
  }

  static std::string model_;
};

std::string MainTest::model_;

TEST_F(MainTest, ServesUntilSigterm) {
  for (const int signal : {SIGTERM, SIGINT}) {
    Ready ready = Serve();
    const auto client = Client(ready);
    v1::GenerateRequest request;
    request.mutable_text()->set_text("hello");
    request.mutable_stop()->set_max_tokens(5);
    request.mutable_stop()->set_ignore_eos(true);
    v1::GenerateResponse response;
    grpc::ClientContext context;
    const grpc::Status status = client->GenerateOnce(&context, request, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(response.samples(0).finished().usage().generated_tokens(), 5);
    ready.process->Signal(signal);
    EXPECT_EQ(ready.process->Wait(), 0);
    EXPECT_EQ(ready.process->out(), "");
    EXPECT_EQ(ready.process->err().find("hello"), std::string::npos) << "prompts are not logged";
  }
}

TEST_F(MainTest, SigtermEndsAnOpenStreamWithUnavailable) {
  Ready ready = Serve();
  const auto client = Client(ready);
  v1::GenerateRequest request;
  request.mutable_text()->set_text("hello");
  request.mutable_stop()->set_max_tokens(1000);
  request.mutable_stop()->set_ignore_eos(true);
  request.set_num_samples(16);  // enough to do for a while
  grpc::ClientContext context;
  const auto stream = client->Generate(&context, request);
  v1::GenerateEvent event;
  ASSERT_TRUE(stream->Read(&event));
  ready.process->Signal(SIGTERM);
  while (stream->Read(&event)) {
  }
  const grpc::Status status = stream->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(status.error_message(), "the server is shutting down");  // no broken connection
  EXPECT_EQ(ready.process->Wait(), 0);
}

TEST_F(MainTest, ASecondServerOnTheSamePort) {
  Ready ready = Serve();
  const std::string taken = absl::StrCat("127.0.0.1:", ready.grpc_port);
  ExpectFails({"--model", model_, "--listen", taken, "--metrics_listen="}, 1,
              "cannot listen on " + taken + " for gRPC");
  const std::string metrics = absl::StrCat("127.0.0.1:", ready.metrics_port);
  ExpectFails({"--model", model_, "--listen=127.0.0.1:0", "--metrics_listen", metrics}, 1,
              "cannot listen on " + metrics + " for metrics");
  grpc::ClientContext context;
  v1::GetModelResponse model;
  EXPECT_TRUE(Client(ready)->GetModel(&context, {}, &model).ok());
}

TEST_F(MainTest, NoModelThere) {
  ExpectFails({"--model=/nonexistent/model.gguf"}, 1, "/nonexistent/model.gguf");
}

TEST_F(MainTest, ADirectoryThatIsNoModel) {
  const std::string empty = testing::TempDir() + "/empty";
  std::filesystem::create_directory(empty);
  ExpectFails({"--model", empty}, 1, empty);
}

TEST_F(MainTest, AFileThatIsNoModel) {
  const std::string path = testing::TempDir() + "/text.gguf";
  std::ofstream(path) << "This is no model.";
  ExpectFails({"--model", path}, 1, path);
}

TEST_F(MainTest, WhatTheModelCannotDo) {
  ExpectFails({"--model", model_, "--max_context=1025"}, 1, "1025");
  ExpectFails({"--model", model_, "--port_file=/nonexistent/ports", "--listen=127.0.0.1:0",
               "--metrics_listen=", "--log_level=off"},
              1, "/nonexistent/ports");
}

TEST_F(MainTest, BadFlags) {
  ExpectFails({}, 2, "--model is required");
  ExpectFails({"--model=x", "--nosuch=1"}, 2, "nosuch");
  ExpectFails({"--model=x", "--threads=many"}, 2, "threads");
  ExpectFails({"--model=x", "--threads=-1"}, 2, "--threads is -1");
  ExpectFails({"--model=x", "--kv_cache_mb=0"}, 2, "--kv_cache_mb is 0");
  ExpectFails({"--model=x", "--kv_cache_mb=9223372036854775807"}, 2, "--kv_cache_mb is 9223");
  ExpectFails({"--model=x", "--kv_type=q4_0"}, 2, "expected f32, f16 or bf16");
  ExpectFails({"--model=x", "--listen=nowhere"}, 2, "--listen");
  ExpectFails({"--model=x", "--listen=0.0.0.0:0"}, 2, "--insecure");
  ExpectFails({"--model=x", "--metrics_listen=0.0.0.0:0"}, 2, "--insecure");
  ExpectFails({"--model=x", "--log_level=loud"}, 2, "--log_level");
  ExpectFails({"--model=x", "more"}, 2, "more");
}

TEST_F(MainTest, HelpListsTheFlags) {
  Process process({"--help"});
  EXPECT_EQ(process.Wait(), 0);
  EXPECT_THAT(process.out(), AllOf(HasSubstr("--model"), HasSubstr("--kv_cache_mb")));
}

}  // namespace
}  // namespace sieve
