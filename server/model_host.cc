#include "server/model_host.h"

#include <algorithm>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/adapter/adapter_file.h"
#include "model/adapter/adapter_json.h"
#include "model/adapter/base_digest.h"
#include "model/attention/summary_layout.h"
#include "model/checkpoint/model_root.h"
#include "model/checkpoint/random_checkpoint.h"
#include "model/open_transformer.h"
#include "spdlog/spdlog.h"

namespace sieve {
namespace {

namespace fs = std::filesystem;

absl::StatusOr<int64_t> ContextLength(int64_t wanted, const ModelConfig& model) {
  if (wanted > model.context_length) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a context of ", wanted, " tokens is more than the model's ", model.context_length));
  }
  return wanted > 0 ? wanted : model.context_length;
}

bool SameShape(const AdapterConfig& adapter, const ModelConfig& model) {
  return adapter.num_layers == model.num_layers && adapter.hidden_size == model.hidden_size &&
         adapter.num_heads == model.num_heads && adapter.num_kv_heads == model.num_kv_heads &&
         adapter.head_dim == model.head_dim;
}

// Room in the cache's pages for what adapters keep of a block: those of the start, those that wait
// in the root, and where that is empty the default ones.
absl::StatusOr<int64_t> SummaryBytes(const ModelHostConfig& config, const ModelConfig& model) {
  // Both types of 16 bits take the same.
  const DType dtype = config.dtype.value_or(DType::kF16);
  int64_t bytes = 0;
  for (const AdapterFolder& adapter : config.adapters) {
    const absl::StatusOr<AdapterConfig> read = ReadAdapterConfig(adapter.dir);
    if (!read.ok()) return read.status();
    bytes = std::max(bytes, SummaryLayoutOf(*read, dtype).bytes);
  }
  if (config.adapter_root.empty()) return bytes;
  AdapterConfig usual;
  usual.head_dim = model.head_dim;
  bytes = std::max(bytes, SummaryLayoutOf(usual, dtype).bytes);
  std::error_code error;
  for (fs::directory_iterator it(config.adapter_root, error), end; !error && it != end;
       it.increment(error)) {
    if (!IsAdapterName(it->path().filename().string())) continue;
    const absl::StatusOr<AdapterConfig> read = ReadAdapterConfig(it->path());
    // One that is not whole yet may be when it is loaded.
    if (read.ok() && SameShape(*read, model)) {
      bytes = std::max(bytes, SummaryLayoutOf(*read, dtype).bytes);
    }
  }
  if (!error) return bytes;
  return absl::InvalidArgumentError(
      absl::StrCat("adapter root ", config.adapter_root, ": ", error.message()));
}

RunOptions OptionsFor(const ModelHostConfig& config, int64_t context, int64_t summary_bytes) {
  return {.device = config.device,
          .num_threads = config.num_threads,
          .dtype = config.dtype,
          .cache_bytes = config.cache_bytes,
          .summary_bytes = summary_bytes,
          // There are none without room for what they keep.
          .adapter_parameters = summary_bytes > 0
                                    ? config.max_adapter_bytes / static_cast<int64_t>(sizeof(float))
                                    : 0,
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
  engine.counter = CacheReadCounter(model.cache);
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

  const absl::StatusOr<int64_t> summary_bytes = SummaryBytes(config, model);
  if (!summary_bytes.ok()) return summary_bytes.status();
  absl::StatusOr<std::unique_ptr<Transformer>> transformer = OpenTransformer(
      model, host->checkpoint_->weights(), OptionsFor(config, *context, *summary_bytes));
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
  if (absl::Status status = host->LoadAdapters(config); !status.ok()) return status;
  return host;
}

absl::Status ModelHost::LoadAdapters(const ModelHostConfig& config) {
  const int64_t room = config.max_step_tokens - config.limits.max_running_sequences;
  adapters_ = std::make_unique<AdapterRegistry>(
      AdapterRegistryOptions{
          .model = checkpoint_->config(),
          .cache = info_.cache,
          .base_digest =
              [this] { return BaseDigest(checkpoint_->config(), checkpoint_->weights()); },
          .max_query_tile = std::max<int64_t>(1, room),
          .max_bytes = config.max_adapter_bytes},
      engine_.get());
  for (const AdapterFolder& folder : config.adapters) {
    const absl::StatusOr<AdapterInfo> adapter = adapters_->Load(folder.name, folder.dir);
    if (!adapter.ok()) return adapter.status();
    spdlog::info("adapter {}: {} selector, {} parameters, loaded in {:.2f} s", adapter->name,
                 NameOf(adapter->config.selector), adapter->parameters,
                 absl::ToDoubleSeconds(adapter->load_time));
  }
  return absl::OkStatus();
}

}  // namespace sieve
