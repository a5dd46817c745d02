#ifndef SIEVE_TESTS_SERVER_SERVICE_HARNESS_H_
#define SIEVE_TESTS_SERVER_SERVICE_HARNESS_H_

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "grpcpp/grpcpp.h"
#include "server/engine.h"
#include "server/generation_service.h"
#include "server/grpc_server.h"
#include "server/model_info.h"
#include "sieve/v1/generation.grpc.pb.h"
#include "tests/server/test_tokenizer.h"

namespace sieve {

struct HarnessOptions {
  ServiceConfig service;   // but for on_refused
  GrpcServerOptions grpc;  // but for address and message size
};

// The service over real gRPC on loopback, with the engine of the test and the vocabulary of
// test_tokenizer.h.
class ServiceHarness {
 public:
  // `engine` is borrowed; null: Serve gives it later.
  ServiceHarness(Engine* engine, const ModelInfo& model, HarnessOptions options = {});

  // The model is loaded.
  void Serve(Engine* engine);

  // A client with a connection of its own.
  std::unique_ptr<v1::Generation::Stub> NewClient() const;
  std::shared_ptr<grpc::Channel> NewChannel() const;

  v1::Generation::Stub& client() const { return *client_; }
  GrpcServer& server() const { return *server_; }
  GenerationService& service() const { return *service_; }
  const Tokenizer& tokenizer() const { return *tokenizer_; }
  std::vector<absl::Status> refused() const;

 private:
  const ModelInfo model_;
  const std::unique_ptr<Tokenizer> tokenizer_ = MakeTestTokenizer();
  const TestChatFormat chat_format_;
  mutable std::mutex mutex_;
  std::vector<absl::Status> refused_;  // guarded by mutex_
  std::unique_ptr<GenerationService> service_;
  std::unique_ptr<GrpcServer> server_;
  std::unique_ptr<v1::Generation::Stub> client_;
};

// A model named "tiny" with the test vocabulary and a context of `context` tokens.
ModelInfo TestModel(int32_t context);

// What a stream brought, until its end.
struct StreamResult {
  std::vector<v1::GenerateEvent> events;
  grpc::Status status;

  std::string Text(int sample) const;
};
StreamResult ReadAll(grpc::ClientReader<v1::GenerateEvent>& stream);

// Runs a request to its end.
StreamResult Generate(v1::Generation::Stub& client, const v1::GenerateRequest& request);

v1::GenerateRequest TextRequest(const std::string& text);

}  // namespace sieve

#endif  // SIEVE_TESTS_SERVER_SERVICE_HARNESS_H_
