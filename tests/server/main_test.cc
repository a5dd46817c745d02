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
  static Ready Serve(const std::vector<std::string>& more_flags = {}) {
    std::vector<std::string> flags = {"--model", model_};
    flags.insert(flags.end(), more_flags.begin(), more_flags.end());
    return ServeWith(flags);
  }
  static Ready ServeWith(const std::vector<std::string>& more_flags) {
    const std::string port_file = absl::StrCat(testing::TempDir(), "/ports", getpid());
    std::filesystem::remove(port_file);
    Ready ready;
    std::vector<std::string> flags = {"--listen=127.0.0.1:0", "--metrics_listen=127.0.0.1:0",
                                      "--port_file=" + port_file, "--kv_cache_mb=8"};
    flags.insert(flags.end(), more_flags.begin(), more_flags.end());
    ready.process = std::make_unique<Process>(flags);
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

  static std::vector<std::string> OnFreePorts(const std::string& model,
                                              const std::vector<std::string>& more_flags = {}) {
    std::vector<std::string> flags = {"--model", model, "--listen=127.0.0.1:0",
                                      "--metrics_listen=127.0.0.1:0"};
    flags.insert(flags.end(), more_flags.begin(), more_flags.end());
    return flags;
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

// A stream that is far from its end.
class LongStream {
 public:
  explicit LongStream(v1::Generation::Stub* client, int32_t tokens, int32_t samples) {
    v1::GenerateRequest request;
    request.mutable_text()->set_text("hello");
    request.mutable_stop()->set_max_tokens(tokens);
    request.mutable_stop()->set_ignore_eos(true);
    request.set_num_samples(samples);
    stream_ = client->Generate(&context_, request);
    v1::GenerateEvent event;
    EXPECT_TRUE(stream_->Read(&event));
  }

  grpc::Status ReadAll() {
    v1::GenerateEvent event;
    while (stream_->Read(&event)) tokens_ += event.delta().token_ids_size();
    return stream_->Finish();
  }
  int tokens() const { return tokens_; }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::GenerateEvent>> stream_;
  int tokens_ = 0;
};

TEST_F(MainTest, SigtermLetsAStreamFinishWithinTheGrace) {
  Ready ready = Serve({"--drain_grace=10m"});
  const auto client = Client(ready);
  LongStream stream(client.get(), 300, 1);
  ready.process->Signal(SIGTERM);
  const grpc::Status status = stream.ReadAll();
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(stream.tokens(), 300);
  EXPECT_EQ(ready.process->Wait(), 0);
}

TEST_F(MainTest, AfterTheGraceAStreamEndsWithUnavailable) {
  Ready ready = Serve({"--drain_grace=1ms"});
  const auto client = Client(ready);
  LongStream stream(client.get(), 1000, 16);
  ready.process->Signal(SIGTERM);
  const grpc::Status status = stream.ReadAll();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(status.error_message(), "the server is shutting down");  // no broken connection
  EXPECT_EQ(ready.process->Wait(), 0);
}

TEST_F(MainTest, ASecondSigtermStopsAtOnce) {
  Ready ready = Serve({"--drain_grace=10m"});
  const auto client = Client(ready);
  LongStream stream(client.get(), 1000, 16);
  ready.process->Signal(SIGTERM);
  while (ready.process->err().find("draining") == std::string::npos) {
    absl::SleepFor(absl::Milliseconds(1));
  }
  ready.process->Signal(SIGTERM);
  EXPECT_EQ(stream.ReadAll().error_code(), grpc::StatusCode::UNAVAILABLE);
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

// Without a file of weights, and without one of tokens.
TEST_F(MainTest, RandomWeights) {
  const std::string config = testing::TempDir() + "/tiny-random.json";
  std::ofstream(config) << R"({"model_type": "llama", "hidden_size": 32, "intermediate_size": 64,
      "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 400})";
  std::string first_text;
  for (int start = 0; start < 2; ++start) {
    Ready ready = ServeWith({"--random_weights", config});
    const auto client = Client(ready);
    v1::GenerateRequest request;
    request.mutable_text()->set_text("hello");
    request.mutable_sampling()->set_seed(1);
    request.mutable_stop()->set_max_tokens(20);
    grpc::ClientContext context, chat_context, model_context;
    const auto stream = client->Generate(&context, request);
    v1::GenerateEvent event;
    std::string text;
    int tokens = 0;
    while (stream->Read(&event)) {
      text += event.delta().text();
      tokens += event.delta().token_ids_size();
    }
    const grpc::Status status = stream->Finish();
    EXPECT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(tokens, 20);
    EXPECT_NE(text, "");
    if (start == 0) first_text = text;
    EXPECT_EQ(text, first_text);

    v1::GetModelResponse model;
    EXPECT_TRUE(client->GetModel(&model_context, {}, &model).ok());
    EXPECT_EQ(model.name(), "tiny-random");
    v1::ChatMessage* message = request.mutable_chat()->add_messages();
    message->set_role(v1::ChatMessage::ROLE_USER);
    message->set_content("hello");
    v1::GenerateResponse response;
    const grpc::Status chat = client->GenerateOnce(&chat_context, request, &response);
    EXPECT_THAT(chat.error_message(), HasSubstr("send a plain prompt"));
    EXPECT_THAT(ready.process->err(), HasSubstr("the weights are random"));
    ready.process->Signal(SIGTERM);
    EXPECT_EQ(ready.process->Wait(), 0);
  }
}

TEST_F(MainTest, RandomWeightsOfNoConfig) {
  const std::string config = testing::TempDir() + "/empty.json";
  std::ofstream(config) << "{}";
  ExpectFails({"--random_weights", config, "--listen=127.0.0.1:0", "--metrics_listen="}, 1,
              config + ": neither \"model_type\" nor");
  ExpectFails({"--random_weights=/nonexistent.json", "--listen=127.0.0.1:0", "--metrics_listen="},
              1, "/nonexistent.json");
}

TEST_F(MainTest, NoModelThere) {
  ExpectFails(OnFreePorts("/nonexistent/model.gguf"), 1, "/nonexistent/model.gguf");
}

TEST_F(MainTest, ADirectoryThatIsNoModel) {
  const std::string empty = testing::TempDir() + "/empty";
  std::filesystem::create_directory(empty);
  ExpectFails(OnFreePorts(empty), 1, empty);
}

TEST_F(MainTest, AFileThatIsNoModel) {
  const std::string path = testing::TempDir() + "/text.gguf";
  std::ofstream(path) << "This is no model.";
  ExpectFails(OnFreePorts(path), 1, path);
}

TEST_F(MainTest, WhatTheModelCannotDo) {
  ExpectFails(OnFreePorts(model_, {"--max_context=1025"}), 1, "1025");
  ExpectFails({"--model", model_, "--port_file=/nonexistent/ports", "--listen=127.0.0.1:0",
               "--metrics_listen=", "--log_level=off"},
              1, "/nonexistent/ports");
}

TEST_F(MainTest, BadFlags) {
  ExpectFails({}, 2, "--model is required: the checkpoint to serve; or --random_weights");
  ExpectFails({"--model=x", "--random_weights=y"}, 2, "expected exactly one of them");
  ExpectFails({"--model=x", "--nosuch=1"}, 2, "nosuch");
  ExpectFails({"--model=x", "--threads=many"}, 2, "threads");
  ExpectFails({"--model=x", "--threads=-1"}, 2, "--threads is -1");
  ExpectFails({"--model=x", "--kv_cache_mb=-1"}, 2, "--kv_cache_mb is -1");
  ExpectFails({"--model=x", "--device=tpu"}, 2, "expected auto, cpu or cuda");
  ExpectFails({"--model=x", "--kv_cache_mb=9223372036854775807"}, 2, "--kv_cache_mb is 9223");
  ExpectFails({"--model=x", "--kv_type=q4_0"}, 2, "expected f32, f16 or bf16");
  ExpectFails({"--model=x", "--listen=nowhere"}, 2, "--listen");
  ExpectFails({"--model=x", "--listen=0.0.0.0:0"}, 2, "--insecure");
  ExpectFails({"--model=x", "--metrics_listen=0.0.0.0:0"}, 2, "--metrics_public");
  ExpectFails({"--model=x", "--tls_cert=x"}, 2, "both --tls_cert and --tls_key");
  ExpectFails({"--model=x", "--tls_client_ca=x"}, 2, "both --tls_cert and --tls_key");
  ExpectFails({"--model=x", "--api_keys=x", "--tenant_weights=a=2"}, 2, "--tenant_weights");
  ExpectFails({"--model=x", "--log_level=loud"}, 2, "--log_level");
  ExpectFails({"--model=x", "--max_message_bytes=10"}, 2, "--max_message_bytes is 10");
  ExpectFails({"--model=x", "--max_logprobs=-1"}, 2, "--max_logprobs is -1");
  ExpectFails({"--model=x", "--stalled_reader_timeout=0"}, 2, "--stalled_reader_timeout is 0");
  ExpectFails({"--model=x", "--drain_grace=-1s"}, 2, "--drain_grace is -1s");
  ExpectFails({"--model=x", "--tenant_weights=a=0"}, 2, "--tenant_weights");
  ExpectFails({"--model=x", "more"}, 2, "more");
}

TEST_F(MainTest, HelpListsTheFlags) {
  Process process({"--help"});
  EXPECT_EQ(process.Wait(), 0);
  EXPECT_THAT(process.out(), AllOf(HasSubstr("--model"), HasSubstr("--kv_cache_mb")));
}

}  // namespace
}  // namespace sieve
