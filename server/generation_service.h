#ifndef SIEVE_SERVER_GENERATION_SERVICE_H_
#define SIEVE_SERVER_GENERATION_SERVICE_H_

#include <functional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "grpcpp/grpcpp.h"
#include "model/chat/chat_format.h"
#include "model/tokenizer/tokenizer.h"
#include "server/engine.h"
#include "server/event_encoding.h"
#include "server/model_info.h"
#include "server/open_calls.h"
#include "server/validation.h"
#include "sieve/v1/generation.grpc.pb.h"

namespace sieve {

// What the service works with; everything is borrowed.
struct ServiceParts {
  Engine* engine = nullptr;
  const Tokenizer* tokenizer = nullptr;
  const ChatFormat* chat_format = nullptr;  // null: chat is refused
  const ModelInfo* model = nullptr;
  // Told of each generation that never reached the engine's queue; may be empty. Called from many
  // threads.
  std::function<void(const absl::Status&)> on_refused;
};

// All methods of sieve.v1.Generation, as raw callbacks: see message_buffer.h for why.
using RawGenerationService = v1::Generation::WithRawCallbackMethod_Generate<
    v1::Generation::WithRawCallbackMethod_GenerateOnce<
        v1::Generation::WithRawCallbackMethod_Tokenize<
            v1::Generation::WithRawCallbackMethod_Detokenize<
                v1::Generation::WithRawCallbackMethod_GetModel<v1::Generation::Service>>>>>;

// The public API. Requests are checked and tokenized on gRPC's threads; the engine gets what is
// left.
class GenerationService final : public RawGenerationService {
 public:
  explicit GenerationService(const ServiceParts& parts);

  grpc::ServerWriteReactor<grpc::ByteBuffer>* Generate(grpc::CallbackServerContext* context,
                                                       const grpc::ByteBuffer* request) override;
  grpc::ServerUnaryReactor* GenerateOnce(grpc::CallbackServerContext* context,
                                         const grpc::ByteBuffer* request,
                                         grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* Tokenize(grpc::CallbackServerContext* context,
                                     const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* Detokenize(grpc::CallbackServerContext* context,
                                       const grpc::ByteBuffer* request,
                                       grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* GetModel(grpc::CallbackServerContext* context,
                                     const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* response) override;

  // Waits until no generation is open, or for `timeout`; whether none is.
  bool AwaitIdle(absl::Duration timeout) { return open_calls_.AwaitNone(timeout); }

 private:
  absl::StatusOr<GenerationRequest> ReadRequest(const grpc::CallbackServerContext& context,
                                                const grpc::ByteBuffer& request) const;
  EventContext ContextOf(const GenerationRequest& request) const;
  void CountRefused(const absl::Status& status) const;

  const ServiceParts parts_;
  const RequestValidator validator_;
  OpenCalls open_calls_;
};

}  // namespace sieve

#endif  // SIEVE_SERVER_GENERATION_SERVICE_H_
