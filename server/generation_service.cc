#include "server/generation_service.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "server/message_buffer.h"
#include "server/model_encoding.h"
#include "server/reactors.h"
#include "server/status_mapping.h"

namespace sieve {
namespace {

absl::Time DeadlineOf(const grpc::CallbackServerContext& context) {
  const std::chrono::system_clock::time_point deadline = context.deadline();
  return deadline == std::chrono::system_clock::time_point::max() ? absl::InfiniteFuture()
                                                                  : absl::FromChrono(deadline);
}

// Ends a unary call at once.
template <typename Message>
grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext* context,
                                 const absl::StatusOr<Message>& message,
                                 grpc::ByteBuffer* response) {
  if (message.ok()) *response = SerializeMessage(*message);
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpcStatus(message.status()));
  return reactor;
}

}  // namespace

GenerationService::GenerationService(const ServiceParts& parts)
    : parts_(parts),
      validator_(parts.model->limits, parts.model->config.name, parts.model->config.vocabulary_size,
                 parts.tokenizer, parts.chat_format) {}

grpc::ServerWriteReactor<grpc::ByteBuffer>* GenerationService::Generate(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request) {
  absl::StatusOr<GenerationRequest> read = ReadRequest(*context, *request);
  if (!read.ok()) {
    CountRefused(read.status());
    return new RefusedStream(read.status());
  }
  auto* reactor =
      new GenerateReactor(parts_.engine, &open_calls_, ContextOf(*read));  // deletes itself
  CountRefused(reactor->Submit(*std::move(read)));
  return reactor;
}

grpc::ServerUnaryReactor* GenerationService::GenerateOnce(grpc::CallbackServerContext* context,
                                                          const grpc::ByteBuffer* request,
                                                          grpc::ByteBuffer* response) {
  absl::StatusOr<GenerationRequest> read = ReadRequest(*context, *request);
  if (!read.ok()) {
    CountRefused(read.status());
    return Answer<v1::GenerateResponse>(context, read.status(), response);
  }
  auto* reactor = new GenerateOnceReactor(parts_.engine, &open_calls_, ContextOf(*read), response);
  CountRefused(reactor->Submit(*std::move(read)));
  return reactor;
}

grpc::ServerUnaryReactor* GenerationService::Tokenize(grpc::CallbackServerContext* context,
                                                      const grpc::ByteBuffer* request,
                                                      grpc::ByteBuffer* response) {
  const auto tokenize = [&]() -> absl::StatusOr<v1::TokenizeResponse> {
    const auto message = ParseMessage<v1::TokenizeRequest>(*request);
    if (!message.ok()) return message.status();
    const absl::StatusOr<std::vector<int32_t>> ids = validator_.Tokenize(*message);
    if (!ids.ok()) return ids.status();
    v1::TokenizeResponse out;
    out.mutable_token_ids()->Add(ids->begin(), ids->end());
    for (const int32_t id : *ids) out.add_tokens(TokenBytesOf(*parts_.tokenizer, id));
    return out;
  };
  return Answer(context, tokenize(), response);
}

grpc::ServerUnaryReactor* GenerationService::Detokenize(grpc::CallbackServerContext* context,
                                                        const grpc::ByteBuffer* request,
                                                        grpc::ByteBuffer* response) {
  const auto detokenize = [&]() -> absl::StatusOr<v1::DetokenizeResponse> {
    const auto message = ParseMessage<v1::DetokenizeRequest>(*request);
    if (!message.ok()) return message.status();
    absl::StatusOr<std::string> text = validator_.Detokenize(*message);
    if (!text.ok()) return text.status();
    v1::DetokenizeResponse out;
    out.set_text(*std::move(text));
    return out;
  };
  return Answer(context, detokenize(), response);
}

grpc::ServerUnaryReactor* GenerationService::GetModel(grpc::CallbackServerContext* context,
                                                      const grpc::ByteBuffer* request,
                                                      grpc::ByteBuffer* response) {
  const auto get_model = [&]() -> absl::StatusOr<v1::GetModelResponse> {
    const auto message = ParseMessage<v1::GetModelRequest>(*request);
    if (!message.ok()) return message.status();
    return EncodeModel(*parts_.model, parts_.engine->stats());
  };
  return Answer(context, get_model(), response);
}

absl::StatusOr<GenerationRequest> GenerationService::ReadRequest(
    const grpc::CallbackServerContext& context, const grpc::ByteBuffer& request) const {
  const absl::Time arrival = absl::Now();
  const auto message = ParseMessage<v1::GenerateRequest>(request);
  if (!message.ok()) return message.status();
  return validator_.Generate(*message, arrival, DeadlineOf(context));
}

EventContext GenerationService::ContextOf(const GenerationRequest& request) const {
  return {request.id, request.sampling.seed, parts_.tokenizer};
}

void GenerationService::CountRefused(const absl::Status& status) const {
  if (!status.ok() && parts_.on_refused) parts_.on_refused(status);
}

}  // namespace sieve
