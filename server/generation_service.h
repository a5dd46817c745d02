#ifndef SIEVE_SERVER_GENERATION_SERVICE_H_
#define SIEVE_SERVER_GENERATION_SERVICE_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "grpcpp/grpcpp.h"
#include "model/chat/chat_format.h"
#include "model/tokenizer/tokenizer.h"
#include "server/adapters/adapter_registry.h"
#include "server/caller.h"
#include "server/content_log.h"
#include "server/engine.h"
#include "server/model_info.h"
#include "server/open_calls.h"
#include "server/reactors.h"
#include "server/refused_request.h"
#include "server/stall_watch.h"
#include "server/validation.h"
#include "server/worker_pool.h"
#include "sieve/v1/generation.grpc.pb.h"

namespace sieve {

// What the service needs before there is a model.
struct ServiceConfig {
  CallerRules callers;
  // Calls that are open at a time, whatever they do: read, wait, run, or wait for their client.
  int64_t max_open_calls = 4096;
  // A client that takes nothing of its stream for so long is given up.
  absl::Duration stalled_reader_timeout = absl::Seconds(30);
  // Told of each generation that never reached the engine's queue; may be empty. Called from many
  // threads.
  std::function<void(const RefusedRequest&)> on_refused;
  const ContentLog* content_log = nullptr;  // borrowed; null: what is said is not logged
  std::string adapter_root;  // folder of adapters that may be loaded; empty: none may
};

// What the service works with; everything is borrowed.
struct ServiceParts {
  Engine* engine = nullptr;
  const Tokenizer* tokenizer = nullptr;
  const ChatFormat* chat_format = nullptr;  // null: chat is refused
  const ModelInfo* model = nullptr;
  AdapterRegistry* adapters = nullptr;  // null: there are none
};

// All methods of sieve.v1.Generation, as raw callbacks: see message_buffer.h for why.
using RawGenerationService = v1::Generation::WithRawCallbackMethod_Generate<
    v1::Generation::WithRawCallbackMethod_GenerateOnce<
        v1::Generation::WithRawCallbackMethod_EstimateCost<
            v1::Generation::WithRawCallbackMethod_Tokenize<
                v1::Generation::WithRawCallbackMethod_Detokenize<
                    v1::Generation::WithRawCallbackMethod_GetModel<
                        v1::Generation::WithRawCallbackMethod_LoadAdapter<
                            v1::Generation::WithRawCallbackMethod_UnloadAdapter<
                                v1::Generation::WithRawCallbackMethod_ListAdapters<
                                    v1::Generation::Service>>>>>>>>>;

// The public API. A call's way: who calls; whether there is room; then, on threads for it, its
// message is parsed, checked and tokenized; the engine gets what is left. What is refused is
// answered as early as that, on gRPC's threads.
class GenerationService final : public RawGenerationService {
 public:
  explicit GenerationService(ServiceConfig config);

  // Serves from now on; until then every method is answered UNAVAILABLE. Once.
  void Serve(const ServiceParts& parts);

  // From now on every method but GetModel is answered UNAVAILABLE; calls that are open go on.
  void Drain() { draining_.store(true); }

  // Waits until no call is open, or for `timeout`; whether none is.
  bool AwaitIdle(absl::Duration timeout) { return open_calls_.AwaitNone(timeout); }

  grpc::ServerWriteReactor<grpc::ByteBuffer>* Generate(grpc::CallbackServerContext* call,
                                                       const grpc::ByteBuffer* request) override;
  grpc::ServerUnaryReactor* GenerateOnce(grpc::CallbackServerContext* call,
                                         const grpc::ByteBuffer* request,
                                         grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* EstimateCost(grpc::CallbackServerContext* call,
                                         const grpc::ByteBuffer* request,
                                         grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* Tokenize(grpc::CallbackServerContext* call,
                                     const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* Detokenize(grpc::CallbackServerContext* call,
                                       const grpc::ByteBuffer* request,
                                       grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* GetModel(grpc::CallbackServerContext* call,
                                     const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* LoadAdapter(grpc::CallbackServerContext* call,
                                        const grpc::ByteBuffer* request,
                                        grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* UnloadAdapter(grpc::CallbackServerContext* call,
                                          const grpc::ByteBuffer* request,
                                          grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* ListAdapters(grpc::CallbackServerContext* call,
                                         const grpc::ByteBuffer* request,
                                         grpc::ByteBuffer* response) override;

 private:
  // What works once the model is loaded.
  struct Backend {
    ServiceParts parts;
    RequestValidator validator;
  };
  // A call that may go on.
  struct Admitted {
    Caller caller;
    const Backend* backend = nullptr;
    std::shared_ptr<const OpenCalls::Call> open;
  };

  absl::StatusOr<const Backend*> LoadedBackend() const;
  // Fills in `caller` as far as it can also when it refuses.
  absl::StatusOr<Admitted> Admit(const grpc::CallbackServerContext& call, Caller* caller);
  // Also asks whether the engine has room.
  absl::StatusOr<Admitted> AdmitGeneration(const grpc::CallbackServerContext& call);

  // Reads the request and starts the reactor with it, on a thread of the readers.
  template <typename Reactor>
  void StartLater(std::shared_ptr<Reactor> reactor, Admitted admitted,
                  const grpc::CallbackServerContext& call, const grpc::ByteBuffer& request);
  // Answers a call with what `make` makes of its request, on a thread of `workers`.
  template <typename Make>
  grpc::ServerUnaryReactor* AnswerLater(WorkerPool* workers, grpc::CallbackServerContext* call,
                                        const grpc::ByteBuffer& request, grpc::ByteBuffer* response,
                                        Make make);
  // Whose adapters a call may load and unload.
  absl::StatusOr<AdapterRegistry*> AdministeredBy(const Admitted& admitted) const;
  absl::StatusOr<v1::LoadAdapterResponse> Load(const Admitted& admitted,
                                               const grpc::ByteBuffer& message) const;
  void LogPrompt(const Backend& backend, const GenerationRequest& request) const;
  void CountRefused(const absl::Status& status, const Caller& caller,
                    absl::string_view request_id) const;

  const ServiceConfig config_;
  std::unique_ptr<const Backend> loaded_;
  std::atomic<const Backend*> backend_{nullptr};  // of loaded_, when that is complete
  std::atomic<bool> draining_{false};
  OpenCalls open_calls_;
  StallWatch stall_watch_;
  // Last: their threads use all of the above.
  WorkerPool readers_;
  WorkerPool answerers_;  // of the small methods, which must not hold up generations
  WorkerPool loaders_;    // of adapters: one at a time
};

}  // namespace sieve

#endif  // SIEVE_SERVER_GENERATION_SERVICE_H_
