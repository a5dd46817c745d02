#ifndef SIEVE_TESTS_CLIENT_FAKE_SERVER_H_
#define SIEVE_TESTS_CLIENT_FAKE_SERVER_H_

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <sstream>
#include <string>
#include <vector>

#include "client/interrupt.h"
#include "client/session.h"
#include "grpcpp/server.h"
#include "grpcpp/server_context.h"

namespace sieve {

// Plays what a test tells it to; keeps the requests that it got. Everything that the test's thread
// and gRPC's share goes through a mutex of the standard library, for ThreadSanitizer sees into
// neither gRPC nor abseil.
class FakeGeneration : public v1::Generation::Service {
 public:
  using Writer = grpc::ServerWriter<v1::GenerateEvent>;
  // Answers the i-th Generate call (from 0).
  using OnGenerate = std::function<grpc::Status(grpc::ServerContext*, int i, Writer*)>;

  void set_on_generate(OnGenerate on_generate);
  void set_model(const v1::GetModelResponse& model);
  std::vector<v1::GenerateRequest> requests() const;

  grpc::Status Generate(grpc::ServerContext* context, const v1::GenerateRequest* request,
                        Writer* writer) override;
  // One token for each byte, its id the byte's value.
  grpc::Status Tokenize(grpc::ServerContext* context, const v1::TokenizeRequest* request,
                        v1::TokenizeResponse* response) override;
  grpc::Status Detokenize(grpc::ServerContext* context, const v1::DetokenizeRequest* request,
                          v1::DetokenizeResponse* response) override;
  grpc::Status GetModel(grpc::ServerContext* context, const v1::GetModelRequest* request,
                        v1::GetModelResponse* response) override;

 private:
  mutable std::mutex mutex_;  // guards all below
  OnGenerate on_generate_;
  v1::GetModelResponse model_;
  std::vector<v1::GenerateRequest> requests_;
};

class FakeHealth : public grpc::health::v1::Health::Service {
 public:
  // SERVING at first.
  std::atomic<grpc::health::v1::HealthCheckResponse::ServingStatus> status =
      grpc::health::v1::HealthCheckResponse::SERVING;

  grpc::Status Check(grpc::ServerContext* context,
                     const grpc::health::v1::HealthCheckRequest* request,
                     grpc::health::v1::HealthCheckResponse* response) override;
};

// A server in this process and a session that is connected to it.
class FakeServer {
 public:
  FakeServer();

  // A session whose input is `input`.
  Session MakeSession(const std::string& input = "");
  // A stub with a connection of its own.
  std::unique_ptr<v1::Generation::StubInterface> NewStub() const;
  // From now on nothing answers.
  void Stop();

  FakeGeneration generation;
  FakeHealth health;
  Interrupt interrupt{[] {}};
  std::istringstream in;
  std::ostringstream out, err;

 private:
  std::string address_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<v1::Generation::Stub> generation_stub_;
  std::unique_ptr<grpc::health::v1::Health::Stub> health_stub_;
};

v1::GenerateEvent AcceptedEventOf(int prompt_tokens, int cached_prompt_tokens);
// One token, whose id is the length of `text`.
v1::GenerateEvent DeltaEventOf(const std::string& text, int sample = 0);
v1::GenerateEvent FinishedEventOf(v1::FinishReason reason, int sample = 0);

}  // namespace sieve

#endif  // SIEVE_TESTS_CLIENT_FAKE_SERVER_H_
