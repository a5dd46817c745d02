#ifndef SIEVE_SERVER_MODEL_HOST_H_
#define SIEVE_SERVER_MODEL_HOST_H_

#include <memory>

#include "absl/status/statusor.h"
#include "model/chat/chat_format.h"
#include "model/checkpoint/checkpoint.h"
#include "model/tokenizer/tokenizer.h"
#include "model/transformer.h"
#include "server/adapters/adapter_registry.h"
#include "server/engine.h"
#include "server/model_info.h"
#include "server/server_config.h"
#include "server/startup_times.h"

namespace sieve {

// A checkpoint, opened and running: everything that serves it but the network.
class ModelHost {
 public:
  // `observer` is borrowed. Errors are those of the checkpoint and of the adapters, and
  // INVALID_ARGUMENT for a context or a cache that does not suit the model.
  static absl::StatusOr<std::unique_ptr<ModelHost>> Open(const ModelHostConfig& config,
                                                         EngineObserver* observer);

  Engine& engine() const { return *engine_; }
  const Tokenizer& tokenizer() const { return *tokenizer_; }
  const ChatFormat* chat_format() const { return chat_format_.get(); }  // null: chat is refused
  AdapterRegistry& adapters() const { return *adapters_; }
  const ModelInfo& info() const { return info_; }
  const StartupTimes& startup() const { return startup_; }  // but for the ports
  MemoryUse memory() const { return transformer_->memory(); }

 private:
  ModelHost() = default;
  absl::Status LoadAdapters(const ModelHostConfig& config);

  // In the order in which they borrow from each other.
  std::unique_ptr<Checkpoint> checkpoint_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<ChatFormat> chat_format_;
  std::unique_ptr<Transformer> transformer_;
  ModelInfo info_;
  StartupTimes startup_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<AdapterRegistry> adapters_;
};

}  // namespace sieve

#endif  // SIEVE_SERVER_MODEL_HOST_H_
