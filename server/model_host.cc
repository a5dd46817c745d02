#include "server/model_host.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/checkpoint/model_root.h"
#include "model/checkpoint/random_checkpoint.h"
#include "model/open_transformer.h"
#include "spdlog/spdlog.h"

namespace sieve {
namespace {

absl::StatusOr<int64_t> ContextLength(int64_t wanted, const ModelConfig& model) {
  if (wanted > model.context_length) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a context of ", wanted, " tokens is more than the model's ", model.context_length));
  }
  return wanted > 0 ? wanted : model.context_length;
}

RunOptions OptionsFor(const ModelHostConfig& config, int64_t context) {
  return {.device = config.device,
          .num_threads = config.num_threads,
          .dtype = config.dtype,
          .cache_bytes = config.cache_bytes,
          // Every sample that runs may have a token in a step, whatever its budget.
          .max_step_tokens =
              std::max<int64_t>(config.max_step_tokens, config.limits.max_running_sequences),
          .max_sequences = config.limits.max_running_sequences,
          .max_context_tokens = context};
}

// What is left to context and cache is filled in.
Limits LimitsFor(const ModelHostConfig& config, int64_t context, const Transformer& model) {
  Limits limits = config.limits;
  limits.max_context_tokens = static_cast<int32_t>(context);
  const int32_t longest_prompt = limits.max_context_tokens - 1;  // one token to generate
  if (limits.max_prompt_tokens == 0 || limits.max_prompt_tokens > longest_prompt) {
    limits.max_prompt_tokens = longest_prompt;
  }
  if (limits.max_queued_prompt_tokens == 0) {
    limits.max_queued_prompt_tokens =
        int64_t{limits.max_queued_requests} * limits.max_prompt_tokens;
  }
  const int64_t cache_bytes = model.num_pages() * model.geometry().BytesPerPage();
  if (limits.max_request_cache_bytes == 0 || limits.max_request_cache_bytes > cache_bytes) {
    limits.max_request_cache_bytes = cache_bytes;
  }
  return limits;
}

EngineConfig EngineConfigFor(const ModelHostConfig& config, const ModelInfo& model) {
  const Limits& limits = model.limits;
  EngineConfig engine;
  engine.max_step_tokens = config.max_step_tokens;
  engine.max_running_sequences = limits.max_running_sequences;
  engine.max_queued_requests = limits.max_queued_requests;
  engine.max_queued_prompt_tokens = limits.max_queued_prompt_tokens;
  engine.max_request_cache_bytes = limits.max_request_cache_bytes;
  engine.page_bytes = model.cache.BytesPerPage();
  engine.context_length = limits.max_context_tokens;
  engine.stalled_reader_timeout = limits.stalled_reader_timeout;
  engine.refuse_late = config.refuse_late;
  engine.on_broken = config.on_broken;
  return engine;
}

absl::Status CheckRoot(const ModelHostConfig& config) {
  if (config.root.empty()) return absl::OkStatus();
  const absl::Status status = CheckInsideModelRoot(config.root, config.path);
  if (!status.ok() || !config.random_weights) return status;
  // Tokenizer files beside the config are read too.
  return CheckInsideModelRoot(config.root, RandomCheckpointFolder(config.path));
}

absl::StatusOr<std::unique_ptr<Checkpoint>> OpenModel(const ModelHostConfig& config) {
  if (absl::Status status = CheckRoot(config); !status.ok()) return status;
  if (!config.random_weights) return OpenCheckpoint(config.path);
  absl::StatusOr<std::unique_ptr<Checkpoint>> checkpoint =
      OpenRandomCheckpoint(config.path, {.num_threads = config.num_threads});
  if (checkpoint.ok()) spdlog::warn("the weights are random: what is generated means nothing");
  return checkpoint;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ModelHost>> ModelHost::Open(const ModelHostConfig& config,
                                                           EngineObserver* observer) {
  std::unique_ptr<ModelHost> host(new ModelHost());
  if (config.on_load) {
    if (absl::Status status = config.on_load(); !status.ok()) return status;
  }
  PhaseTimer timer;

  absl::StatusOr<std::unique_ptr<Checkpoint>> checkpoint = OpenModel(config);
  if (!checkpoint.ok()) return checkpoint.status();
  host->checkpoint_ = *std::move(checkpoint);
  const ModelConfig& model = host->checkpoint_->config();

  const absl::StatusOr<int64_t> context = ContextLength(config.context_length, model);
  if (!context.ok()) return context.status();

  host->startup_.checkpoint = timer.Next();

  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer =
      Tokenizer::Create(host->checkpoint_->vocabulary());
  if (!tokenizer.ok()) return tokenizer.status();
  host->tokenizer_ = *std::move(tokenizer);

  absl::StatusOr<std::unique_ptr<ChatFormat>> chat_format = ChatFormatFor(*host->tokenizer_);
  if (chat_format.ok()) {
    host->chat_format_ = *std::move(chat_format);
  } else {
    spdlog::warn("chat is refused: {}", std::string(chat_format.status().message()));
  }

  host->startup_.tokenizer = timer.Next();

  absl::StatusOr<std::unique_ptr<Transformer>> transformer =
      OpenTransformer(model, host->checkpoint_->weights(), OptionsFor(config, *context));
  if (!transformer.ok()) return transformer.status();
  host->transformer_ = *std::move(transformer);
  spdlog::info("computing on {}, cache of {} pages in {}", host->memory().device,
               host->transformer_->num_pages(), InfoOf(host->transformer_->geometry().dtype).name);

  host->info_ = DescribeModel(model, host->checkpoint_->weights(), host->transformer_->geometry(),
                              *host->tokenizer_);
  if (host->chat_format_) host->info_.chat_format = std::string(host->chat_format_->name());
  host->info_.limits = LimitsFor(config, *context, *host->transformer_);

  host->engine_ = Engine::Create(EngineConfigFor(config, host->info_), host->transformer_.get(),
                                 host->tokenizer_.get(), observer);
  host->startup_.model = timer.Next();
  return host;
}

}  // namespace sieve
