#include "server/generation_service.h"

#include <algorithm>
#include <new>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/types/span.h"
#include "server/event_encoding.h"
#include "server/field_checks.h"
#include "server/message_buffer.h"
#include "server/model_encoding.h"
#include "server/refusal.h"
#include "server/status_mapping.h"

namespace sieve {
namespace {

// When to try again where nothing is known of how long it takes.
constexpr absl::Duration kRetryAfter = absl::Seconds(1);

// Half the cores: the engine computes meanwhile.
int NumReaders() { return std::clamp<int>(std::thread::hardware_concurrency() / 2, 1, 8); }

absl::Time DeadlineOf(const grpc::CallbackServerContext& call) {
  const std::chrono::system_clock::time_point deadline = call.deadline();
  return deadline == std::chrono::system_clock::time_point::max() ? absl::InfiniteFuture()
                                                                  : absl::FromChrono(deadline);
}

// What `make` makes, a StatusOr; an error when memory runs out, for threads that must go on.
template <typename Make>
auto Guarded(Make make) -> decltype(make()) {
  try {
    return make();
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("the server has no memory for the request; try again");
  }
}

// Of a call that ended before its request was read.
absl::Status GivenUp(absl::Time arrival, absl::Time deadline) {
  if (!GivenUpAtDeadline(arrival, deadline, absl::Now())) {
    return Refusal(absl::CancelledError("the call was cancelled before its request was read"),
                   RefusalReason::kCancelled);
  }
  return Refusal(
      absl::DeadlineExceededError("the call's deadline passed before its request was read"),
      RefusalReason::kLate);
}

// Ends a unary call whose reactor is `reactor`.
template <typename Message>
grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext* call,
                                 grpc::ServerUnaryReactor* reactor,
                                 const absl::StatusOr<Message>& message,
                                 grpc::ByteBuffer* response) {
  if (message.ok()) *response = SerializeMessage(*message);
  reactor->Finish(EndOfCall(call, message.status()));
  return reactor;
}

// A request that was parsed and is not valid: what its sender did wrong.
absl::Status Invalid(const absl::Status& status) {
  return Refusal(status, RefusalReason::kInvalid);
}

// Fills in `request_id` as far as it can also when the request is not valid.
absl::StatusOr<GenerationRequest> ReadRequest(const RequestValidator& validator,
                                              const grpc::ByteBuffer& request, const Caller& caller,
                                              absl::Time arrival, absl::Time deadline,
                                              std::string* request_id) {
  if (absl::Now() >= deadline) {
    return absl::DeadlineExceededError("the call's deadline passed before its request was read");
  }
  const auto message = ParseMessage<v1::GenerateRequest>(request);
  if (!message.ok()) return Invalid(message.status());
  *request_id = message->request_id();
  absl::StatusOr<GenerationRequest> read = validator.Generate(*message, arrival, deadline);
  if (!read.ok()) return Invalid(read.status());
  *request_id = read->id;
  read->tenant = caller.tenant;
  read->tenant_weight = caller.weight;
  read->traceparent = caller.traceparent;
  return read;
}

RequestValidator::FindAdapter FinderIn(const AdapterRegistry* adapters) {
  if (adapters == nullptr) return nullptr;
  return [adapters](absl::string_view name) { return adapters->Find(name); };
}

std::vector<AdapterInfo> AdaptersIn(const ServiceParts& parts) {
  return parts.adapters == nullptr ? std::vector<AdapterInfo>() : parts.adapters->List();
}

}  // namespace

GenerationService::GenerationService(ServiceConfig config)
    : config_(std::move(config)),
      open_calls_(config_.max_open_calls),
      stall_watch_(config_.stalled_reader_timeout),
      readers_(NumReaders()),
      answerers_(NumReaders()),
      loaders_(1) {}

void GenerationService::Serve(const ServiceParts& parts) {
  loaded_.reset(
      new Backend{parts, RequestValidator(parts.model->limits, parts.model->config.name,
                                          parts.model->config.vocabulary_size, parts.tokenizer,
                                          parts.chat_format, FinderIn(parts.adapters))});
  backend_.store(loaded_.get(), std::memory_order_release);
}

template <typename Reactor>
void GenerationService::StartLater(std::shared_ptr<Reactor> reactor, Admitted admitted,
                                   const grpc::CallbackServerContext& call,
                                   const grpc::ByteBuffer& request) {
  readers_.Add([this, reactor = std::move(reactor), caller = std::move(admitted.caller),
                backend = admitted.backend, request, arrival = absl::Now(),
                deadline = DeadlineOf(call)] {
    if (reactor->cancelled()) return CountRefused(GivenUp(arrival, deadline), caller, "");
    std::string request_id;
    absl::StatusOr<GenerationRequest> read = Guarded([&] {
      return ReadRequest(backend->validator, request, caller, arrival, deadline, &request_id);
    });
    if (read.ok()) LogPrompt(*backend, *read);
    reactor->Start(std::move(read),
                   [&](const absl::Status& status) { CountRefused(status, caller, request_id); });
  });
}

template <typename Make>
grpc::ServerUnaryReactor* GenerationService::AnswerLater(WorkerPool* workers,
                                                         grpc::CallbackServerContext* call,
                                                         const grpc::ByteBuffer& request,
                                                         grpc::ByteBuffer* response, Make make) {
  Caller caller;
  absl::StatusOr<Admitted> admitted = Admit(*call, &caller);
  using Response = decltype(make(*admitted, request));
  if (!admitted.ok()) {
    return Answer(call, call->DefaultReactor(), Response(admitted.status()), response);
  }
  const auto reactor = UnaryAnswer::Create(call, std::move(admitted->open), response);
  stall_watch_.Add(reactor);
  workers->Add([reactor, request, make, admitted = *std::move(admitted)] {
    if (reactor->cancelled()) return reactor->End(absl::CancelledError("the call was cancelled"));
    reactor->End(Guarded([&]() -> absl::StatusOr<grpc::ByteBuffer> {
      const Response answer = make(admitted, request);
      if (!answer.ok()) return answer.status();
      return SerializeMessage(*answer);
    }));
  });
  return reactor.get();
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* GenerationService::Generate(
    grpc::CallbackServerContext* call, const grpc::ByteBuffer* request) {
  absl::StatusOr<Admitted> admitted = AdmitGeneration(*call);
  if (!admitted.ok()) return new RefusedStream(call, admitted.status());  // deletes itself
  const ServiceParts& parts = admitted->backend->parts;
  const auto reactor = GenerateReactor::Create(
      {call, std::move(admitted->open), parts.engine, parts.tokenizer, config_.content_log});
  stall_watch_.Add(reactor);
  StartLater(reactor, *std::move(admitted), *call, *request);
  return reactor.get();
}

grpc::ServerUnaryReactor* GenerationService::GenerateOnce(grpc::CallbackServerContext* call,
                                                          const grpc::ByteBuffer* request,
                                                          grpc::ByteBuffer* response) {
  absl::StatusOr<Admitted> admitted = AdmitGeneration(*call);
  if (!admitted.ok()) {
    return Answer<v1::GenerateResponse>(call, call->DefaultReactor(), admitted.status(), response);
  }
  const ServiceParts& parts = admitted->backend->parts;
  const auto reactor = GenerateOnceReactor::Create(
      {call, std::move(admitted->open), parts.engine, parts.tokenizer, config_.content_log},
      response);
  stall_watch_.Add(reactor);
  StartLater(reactor, *std::move(admitted), *call, *request);
  return reactor.get();
}

grpc::ServerUnaryReactor* GenerationService::EstimateCost(grpc::CallbackServerContext* call,
                                                          const grpc::ByteBuffer* request,
                                                          grpc::ByteBuffer* response) {
  const auto estimate =
      [arrival = absl::Now(), deadline = DeadlineOf(*call)](
          const Admitted& admitted,
          const grpc::ByteBuffer& message) -> absl::StatusOr<v1::EstimateCostResponse> {
    const Backend& backend = *admitted.backend;
    std::string request_id;
    const absl::StatusOr<GenerationRequest> read =
        ReadRequest(backend.validator, message, admitted.caller, arrival, deadline, &request_id);
    if (!read.ok()) return read.status();
    const absl::StatusOr<CostEstimate> cost = backend.parts.engine->EstimateCost(*read);
    if (!cost.ok()) return cost.status();
    return EncodeCost(*read, *cost);
  };
  return AnswerLater(&answerers_, call, *request, response, estimate);
}

grpc::ServerUnaryReactor* GenerationService::Tokenize(grpc::CallbackServerContext* call,
                                                      const grpc::ByteBuffer* request,
                                                      grpc::ByteBuffer* response) {
  const auto tokenize =
      [](const Admitted& admitted,
         const grpc::ByteBuffer& message) -> absl::StatusOr<v1::TokenizeResponse> {
    const auto input = ParseMessage<v1::TokenizeRequest>(message);
    if (!input.ok()) return Invalid(input.status());
    const absl::StatusOr<std::vector<int32_t>> ids = admitted.backend->validator.Tokenize(*input);
    if (!ids.ok()) return Invalid(ids.status());
    v1::TokenizeResponse out;
    out.mutable_token_ids()->Add(ids->begin(), ids->end());
    for (const int32_t id : *ids) {
      out.add_tokens(TokenBytesOf(*admitted.backend->parts.tokenizer, id));
    }
    return out;
  };
  return AnswerLater(&answerers_, call, *request, response, tokenize);
}

grpc::ServerUnaryReactor* GenerationService::Detokenize(grpc::CallbackServerContext* call,
                                                        const grpc::ByteBuffer* request,
                                                        grpc::ByteBuffer* response) {
  const auto detokenize =
      [](const Admitted& admitted,
         const grpc::ByteBuffer& message) -> absl::StatusOr<v1::DetokenizeResponse> {
    const auto input = ParseMessage<v1::DetokenizeRequest>(message);
    if (!input.ok()) return Invalid(input.status());
    absl::StatusOr<std::string> text = admitted.backend->validator.Detokenize(*input);
    if (!text.ok()) return Invalid(text.status());
    v1::DetokenizeResponse out;
    out.set_text(*std::move(text));
    return out;
  };
  return AnswerLater(&answerers_, call, *request, response, detokenize);
}

grpc::ServerUnaryReactor* GenerationService::GetModel(grpc::CallbackServerContext* call,
                                                      const grpc::ByteBuffer* request,
                                                      grpc::ByteBuffer* response) {
  const auto get_model = [&]() -> absl::StatusOr<v1::GetModelResponse> {
    const absl::StatusOr<Caller> caller = ReadCaller(config_.callers, call->client_metadata());
    if (!caller.ok()) return caller.status();
    const absl::StatusOr<const Backend*> backend = LoadedBackend();
    if (!backend.ok()) return backend.status();
    const auto message = ParseMessage<v1::GetModelRequest>(*request);
    if (!message.ok()) return Invalid(message.status());
    return EncodeModel(*(*backend)->parts.model, (*backend)->parts.engine->stats(),
                       AdaptersIn((*backend)->parts));
  };
  return Answer(call, call->DefaultReactor(), get_model(), response);
}

grpc::ServerUnaryReactor* GenerationService::LoadAdapter(grpc::CallbackServerContext* call,
                                                         const grpc::ByteBuffer* request,
                                                         grpc::ByteBuffer* response) {
  const auto load = [this](const Admitted& admitted, const grpc::ByteBuffer& message) {
    return Load(admitted, message);
  };
  return AnswerLater(&loaders_, call, *request, response, load);
}

absl::StatusOr<v1::LoadAdapterResponse> GenerationService::Load(
    const Admitted& admitted, const grpc::ByteBuffer& message) const {
  const absl::StatusOr<AdapterRegistry*> adapters = AdministeredBy(admitted);
  if (!adapters.ok()) return adapters.status();
  const auto request = ParseMessage<v1::LoadAdapterRequest>(message);
  if (!request.ok()) return Invalid(request.status());
  FieldChecks checks;
  const std::string& folder = request->has_folder() ? request->folder() : request->name();
  if (!IsAdapterName(request->name())) {
    checks.Fail("name", Quoted(request->name()), kAdapterNameRule);
  } else if (!IsAdapterName(folder)) {
    checks.Fail("folder", Quoted(folder), kAdapterNameRule);
  }
  if (!checks.ok()) return Invalid(checks.status());
  const absl::StatusOr<AdapterInfo> loaded =
      (*adapters)->LoadFrom(config_.adapter_root, folder, request->name());
  if (!loaded.ok()) return loaded.status();
  v1::LoadAdapterResponse response;
  *response.mutable_adapter() = EncodeAdapter(*loaded);
  return response;
}

grpc::ServerUnaryReactor* GenerationService::UnloadAdapter(grpc::CallbackServerContext* call,
                                                           const grpc::ByteBuffer* request,
                                                           grpc::ByteBuffer* response) {
  const auto unload =
      [this](const Admitted& admitted,
             const grpc::ByteBuffer& message) -> absl::StatusOr<v1::UnloadAdapterResponse> {
    const absl::StatusOr<AdapterRegistry*> adapters = AdministeredBy(admitted);
    if (!adapters.ok()) return adapters.status();
    const auto input = ParseMessage<v1::UnloadAdapterRequest>(message);
    if (!input.ok()) return Invalid(input.status());
    if (absl::Status status = (*adapters)->Unload(input->name()); !status.ok()) return status;
    return v1::UnloadAdapterResponse();
  };
  return AnswerLater(&answerers_, call, *request, response, unload);
}

grpc::ServerUnaryReactor* GenerationService::ListAdapters(grpc::CallbackServerContext* call,
                                                          const grpc::ByteBuffer* request,
                                                          grpc::ByteBuffer* response) {
  const auto list =
      [](const Admitted& admitted,
         const grpc::ByteBuffer& message) -> absl::StatusOr<v1::ListAdaptersResponse> {
    const auto input = ParseMessage<v1::ListAdaptersRequest>(message);
    if (!input.ok()) return Invalid(input.status());
    v1::ListAdaptersResponse out;
    for (const AdapterInfo& adapter : AdaptersIn(admitted.backend->parts)) {
      *out.add_adapters() = EncodeAdapter(adapter);
    }
    return out;
  };
  return AnswerLater(&answerers_, call, *request, response, list);
}

absl::StatusOr<AdapterRegistry*> GenerationService::AdministeredBy(const Admitted& admitted) const {
  AdapterRegistry* const adapters = admitted.backend->parts.adapters;
  if (adapters == nullptr || config_.adapter_root.empty()) {
    return absl::PermissionDeniedError(
        "adapters are loaded and unloaded only where the server has an --adapter_root");
  }
  if (!admitted.caller.admin) {
    return absl::PermissionDeniedError(
        "adapters are loaded and unloaded with API keys that have \"admin\": true");
  }
  return adapters;
}

absl::StatusOr<const GenerationService::Backend*> GenerationService::LoadedBackend() const {
  const Backend* const backend = backend_.load(std::memory_order_acquire);
  if (backend != nullptr) return backend;
  return Refusal(absl::UnavailableError("the model is being loaded"), RefusalReason::kLoading,
                 kRetryAfter);
}

absl::StatusOr<GenerationService::Admitted> GenerationService::Admit(
    const grpc::CallbackServerContext& call, Caller* caller) {
  Admitted admitted;
  absl::StatusOr<Caller> read = ReadCaller(config_.callers, call.client_metadata());
  if (!read.ok()) return read.status();
  *caller = *std::move(read);
  admitted.caller = *caller;
  const absl::StatusOr<const Backend*> backend = LoadedBackend();
  if (!backend.ok()) return backend.status();
  admitted.backend = *backend;
  if (draining_.load()) {
    return Refusal(absl::UnavailableError("the server is shutting down"), RefusalReason::kDraining,
                   kRetryAfter);
  }
  admitted.open = open_calls_.Open();
  if (admitted.open == nullptr) {
    return Refusal(absl::ResourceExhaustedError(
                       absl::StrCat("as many calls are open as may be: ", open_calls_.limit())),
                   RefusalReason::kQueueFull, kRetryAfter);
  }
  return admitted;
}

absl::StatusOr<GenerationService::Admitted> GenerationService::AdmitGeneration(
    const grpc::CallbackServerContext& call) {
  Caller caller;
  absl::StatusOr<Admitted> admitted = Admit(call, &caller);
  absl::Status status = admitted.status();
  if (status.ok()) {
    status = admitted->backend->parts.engine->CheckAdmission(caller.tenant, caller.weight);
  }
  CountRefused(status, caller, /*request_id=*/"");
  if (!status.ok()) return status;
  return admitted;
}

void GenerationService::LogPrompt(const Backend& backend, const GenerationRequest& request) const {
  if (config_.content_log == nullptr) return;
  // Every token is a byte at least.
  const absl::Span<const int32_t> ids =
      absl::MakeConstSpan(request.prompt).subspan(0, ContentLog::kMaxTextBytes);
  config_.content_log->Prompt(
      request.id, DecodeBytes(*backend.parts.tokenizer, ids, /*include_special_tokens=*/true));
}

void GenerationService::CountRefused(const absl::Status& status, const Caller& caller,
                                     absl::string_view request_id) const {
  if (status.ok() || !config_.on_refused) return;
  config_.on_refused({status, request_id, caller.tenant, caller.traceparent});
}

}  // namespace sieve
