#include "tests/client/fake_server.h"

#include <utility>

#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server_builder.h"

namespace sieve {

void FakeGeneration::set_on_generate(OnGenerate on_generate) {
  const std::lock_guard<std::mutex> lock(mutex_);
  on_generate_ = std::move(on_generate);
}

void FakeGeneration::set_model(const v1::GetModelResponse& model) {
  const std::lock_guard<std::mutex> lock(mutex_);
  model_ = model;
}

std::vector<v1::GenerateRequest> FakeGeneration::requests() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return requests_;
}

grpc::Status FakeGeneration::Generate(grpc::ServerContext* context,
                                      const v1::GenerateRequest* request, Writer* writer) {
  OnGenerate on_generate;
  int index;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    on_generate = on_generate_;
    index = static_cast<int>(requests_.size());
    requests_.push_back(*request);
  }
  return on_generate(context, index, writer);
}

grpc::Status FakeGeneration::Tokenize(grpc::ServerContext* context,
                                      const v1::TokenizeRequest* request,
                                      v1::TokenizeResponse* response) {
  for (const char c : request->text().text()) {
    response->add_token_ids(static_cast<unsigned char>(c));
    response->add_tokens(std::string(1, c));
  }
  return grpc::Status::OK;
}

grpc::Status FakeGeneration::Detokenize(grpc::ServerContext* context,
                                        const v1::DetokenizeRequest* request,
                                        v1::DetokenizeResponse* response) {
  for (const int id : request->token_ids()) {
    if (id > 127) return {grpc::StatusCode::INVALID_ARGUMENT, "token_ids: out of range"};
    response->mutable_text()->push_back(static_cast<char>(id));
  }
  return grpc::Status::OK;
}

grpc::Status FakeGeneration::GetModel(grpc::ServerContext* context,
                                      const v1::GetModelRequest* request,
                                      v1::GetModelResponse* response) {
  const std::lock_guard<std::mutex> lock(mutex_);
  *response = model_;
  return grpc::Status::OK;
}

grpc::Status FakeHealth::Check(grpc::ServerContext* context,
                               const grpc::health::v1::HealthCheckRequest* request,
                               grpc::health::v1::HealthCheckResponse* response) {
  response->set_status(status);
  return grpc::Status::OK;
}

FakeServer::FakeServer() {
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&generation);
  builder.RegisterService(&health);
  server_ = builder.BuildAndStart();
  address_ = "127.0.0.1:" + std::to_string(port);
  const auto channel = grpc::CreateChannel(address_, grpc::InsecureChannelCredentials());
  generation_stub_ = v1::Generation::NewStub(channel);
  health_stub_ = grpc::health::v1::Health::NewStub(channel);
}

Session FakeServer::MakeSession(const std::string& input) {
  in.str(input);
  Session session;
  session.generation = generation_stub_.get();
  session.health = health_stub_.get();
  session.interrupt = &interrupt;
  session.in = &in;
  session.out = &out;
  session.err = &err;
  return session;
}

std::unique_ptr<v1::Generation::StubInterface> FakeServer::NewStub() const {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return v1::Generation::NewStub(
      grpc::CreateCustomChannel(address_, grpc::InsecureChannelCredentials(), arguments));
}

void FakeServer::Stop() { server_->Shutdown(); }

v1::GenerateEvent AcceptedEventOf(int prompt_tokens, int cached_prompt_tokens) {
  v1::GenerateEvent event;
  event.mutable_accepted()->set_prompt_tokens(prompt_tokens);
  event.mutable_accepted()->set_cached_prompt_tokens(cached_prompt_tokens);
  return event;
}

v1::GenerateEvent DeltaEventOf(const std::string& text, int sample) {
  v1::GenerateEvent event;
  event.mutable_delta()->set_sample(sample);
  event.mutable_delta()->set_text(text);
  event.mutable_delta()->add_token_ids(static_cast<int>(text.size()));
  return event;
}

v1::GenerateEvent FinishedEventOf(v1::FinishReason reason, int sample) {
  v1::GenerateEvent event;
  event.mutable_finished()->set_sample(sample);
  event.mutable_finished()->set_reason(reason);
  return event;
}

}  // namespace sieve
