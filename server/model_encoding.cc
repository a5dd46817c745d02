#include "server/model_encoding.h"

#include <string>

#include "model/adapter/adapter_json.h"
#include "model/version.h"
#include "server/duration_encoding.h"
#include "server/event_encoding.h"

namespace sieve {
namespace {

void EncodeShape(const ModelInfo& model, v1::ModelShape* out) {
  const ModelConfig& config = model.config;
  out->set_architecture(config.architecture);
  out->set_parameters(model.parameters);
  out->set_num_layers(static_cast<int32_t>(config.num_layers));
  out->set_hidden_size(static_cast<int32_t>(config.hidden_size));
  out->set_intermediate_size(static_cast<int32_t>(config.intermediate_size));
  out->set_num_heads(static_cast<int32_t>(config.num_heads));
  out->set_num_kv_heads(static_cast<int32_t>(config.num_kv_heads));
  out->set_head_dim(static_cast<int32_t>(config.head_dim));
  out->set_vocabulary_size(static_cast<int32_t>(config.vocabulary_size));
  out->set_context_length(static_cast<int32_t>(config.context_length));
  out->set_weight_type(model.weight_type);
  out->set_weight_bytes(model.weight_bytes);
}

void EncodeLimits(const Limits& limits, v1::Limits* out) {
  out->set_max_context_tokens(limits.max_context_tokens);
  out->set_default_max_tokens(limits.default_max_tokens);
  out->set_max_samples(limits.max_samples);
  out->set_max_stop_texts(limits.max_stop_texts);
  out->set_max_stop_text_bytes(limits.max_stop_text_bytes);
  out->set_max_stop_token_ids(limits.max_stop_token_ids);
  out->set_max_logit_bias_entries(limits.max_logit_bias_entries);
  out->set_max_logprobs(limits.max_logprobs);
  out->set_max_request_bytes(limits.max_request_bytes);
  out->set_max_queued_requests(limits.max_queued_requests);
  out->set_max_prompt_tokens(limits.max_prompt_tokens);
  out->set_max_queued_prompt_tokens(limits.max_queued_prompt_tokens);
  out->set_max_running_sequences(limits.max_running_sequences);
  out->set_max_request_cache_bytes(limits.max_request_cache_bytes);
  out->set_max_streams_per_connection(limits.max_streams_per_connection);
  EncodeDuration(limits.stalled_reader_timeout, out->mutable_stalled_reader_timeout());
}

void EncodeTokenizer(const ModelInfo& model, v1::TokenizerInfo* out) {
  out->set_kind("byte-level-bpe");
  out->set_pre_tokenizer(std::string(model.pre_tokenizer));
  if (model.bos.has_value()) out->set_bos_token_id(*model.bos);
  out->mutable_eos_token_ids()->Add(model.eos.begin(), model.eos.end());
  out->set_chat_format(model.chat_format);
}

void EncodeCache(const CacheGeometry& cache, const EngineStats& stats, v1::CacheInfo* out) {
  out->set_page_tokens(kPageTokens);
  out->set_type(InfoOf(cache.dtype).name);
  out->set_bytes_per_token(cache.BytesPerPage() / kPageTokens);
  out->set_bytes_per_page(cache.BytesPerPage());
  out->set_summary_bytes_per_page(cache.SummaryBytesPerPage());
  out->set_total_pages(stats.total_pages);
  out->set_free_pages(stats.free_pages);
  out->set_cached_pages(stats.cached_pages);
  out->set_active_pages(stats.active_pages);
}

}  // namespace

v1::AdapterInfo EncodeAdapter(const AdapterInfo& adapter) {
  const AdapterConfig& config = adapter.config;
  v1::AdapterInfo out;
  out.set_name(adapter.name);
  out.set_digest(adapter.digest);
  out.set_parameters(adapter.parameters);
  out.set_selector(NameOf(config.selector));
  out.set_sink_blocks(static_cast<int32_t>(config.sink_blocks));
  out.set_window_blocks(static_cast<int32_t>(config.window_blocks));
  out.set_selected_blocks(static_cast<int32_t>(config.selected_blocks));
  out.set_query_tile(static_cast<int32_t>(config.query_tile));
  out.mutable_dense_layers()->Add(config.dense_layers.begin(), config.dense_layers.end());
  out.set_tail(config.tail);
  EncodeDuration(adapter.load_time, out.mutable_load_time());
  out.set_requests(adapter.requests);
  out.set_open_requests(adapter.open_requests);
  *out.mutable_reads() = EncodeReads(adapter.reads);
  for (int64_t layer = 0; layer < config.num_layers; ++layer) {
    out.add_layer_density(config.is_dense(layer) ? 1 : adapter.sparse_density);
  }
  const int64_t heads =
      config.num_kv_heads * (config.num_layers - static_cast<int64_t>(config.dense_layers.size()));
  v1::SummaryBytes* summary = out.mutable_summary_bytes_per_page();
  summary->set_statistics(heads * adapter.summary.statistics);
  summary->set_index(heads * adapter.summary.index);
  summary->set_entries(heads * adapter.summary.entries);
  return out;
}

v1::GetModelResponse EncodeModel(const ModelInfo& model, const EngineStats& stats,
                                 absl::Span<const AdapterInfo> adapters) {
  v1::GetModelResponse out;
  out.set_name(model.config.name);
  EncodeShape(model, out.mutable_shape());
  EncodeLimits(model.limits, out.mutable_limits());
  EncodeTokenizer(model, out.mutable_tokenizer());
  EncodeCache(model.cache, stats, out.mutable_cache());
  for (const AdapterInfo& adapter : adapters) *out.add_adapters() = EncodeAdapter(adapter);
  *out.mutable_reads() = EncodeReads(stats.reads);
  out.mutable_load()->set_running_sequences(static_cast<int32_t>(stats.running_sequences));
  out.mutable_load()->set_waiting_requests(static_cast<int32_t>(stats.waiting_requests));
  out.set_server_version(std::string(kVersion));
  return out;
}

}  // namespace sieve
