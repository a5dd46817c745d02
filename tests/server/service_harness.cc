#include "tests/server/service_harness.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace sieve {

ServiceHarness::ServiceHarness(Engine* engine, const ModelInfo& model, HarnessOptions options)
    : model_(model) {
  ServiceConfig service = std::move(options.service);
  service.on_refused = [this](const RefusedRequest& request) {
    std::lock_guard lock(mutex_);
    refused_.push_back(request.status);
  };
  service_ = std::make_unique<GenerationService>(std::move(service));
  GrpcServerOptions grpc = std::move(options.grpc);
  grpc.address = {.host = "127.0.0.1"};
  grpc.max_request_bytes = model_.limits.max_request_bytes;
  server_ = GrpcServer::Start(grpc, service_.get()).value();
  client_ = NewClient();
  if (engine != nullptr) Serve(engine);
}

void ServiceHarness::Serve(Engine* engine) {
  service_->Serve(ServiceParts{.engine = engine,
                               .tokenizer = tokenizer_.get(),
                               .chat_format = &chat_format_,
                               .model = &model_});
  server_->SetServing(true);
}

std::shared_ptr<grpc::Channel> ServiceHarness::NewChannel() const {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  // Keeps the window of a stream that is not read at 64 KiB; on loopback it would grow to
  // megabytes.
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  return grpc::CreateCustomChannel(absl::StrCat("127.0.0.1:", server_->port()),
                                   grpc::InsecureChannelCredentials(), arguments);
}

std::unique_ptr<v1::Generation::Stub> ServiceHarness::NewClient() const {
  return v1::Generation::NewStub(NewChannel());
}

std::vector<absl::Status> ServiceHarness::refused() const {
  std::lock_guard lock(mutex_);
  return refused_;
}

ModelInfo TestModel(int32_t context) {
  ModelInfo model;
  model.config.name = "tiny";
  model.config.vocabulary_size = kTestVocabulary;
  model.config.context_length = context;
  model.limits.max_context_tokens = context;
  return model;
}

std::string StreamResult::Text(int sample) const {
  std::string text;
  for (const v1::GenerateEvent& event : events) {
    if (event.has_delta() && event.delta().sample() == sample) text += event.delta().text();
  }
  return text;
}

StreamResult ReadAll(grpc::ClientReader<v1::GenerateEvent>& stream) {
  StreamResult result;
  v1::GenerateEvent event;
  while (stream.Read(&event)) result.events.push_back(event);
  result.status = stream.Finish();
  return result;
}

StreamResult Generate(v1::Generation::Stub& client, const v1::GenerateRequest& request) {
  grpc::ClientContext context;
  return ReadAll(*client.Generate(&context, request));
}

v1::GenerateRequest TextRequest(const std::string& text) {
  v1::GenerateRequest request;
  request.mutable_text()->set_text(text);
  return request;
}

}  // namespace sieve
