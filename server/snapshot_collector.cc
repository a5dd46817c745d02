#include "server/snapshot_collector.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "kernels/dtype.h"
#include "server/metric_family.h"

namespace sieve {
namespace {

using prometheus::MetricFamily;
using Families = std::vector<MetricFamily>;

void AddGauge(std::string name, std::string help, std::vector<MetricSample> samples,
              Families* out) {
  out->push_back(MakeFamily(prometheus::MetricType::Gauge, std::move(name), std::move(help),
                            std::move(samples)));
}

void AddCounter(std::string name, std::string help, std::vector<MetricSample> samples,
                Families* out) {
  out->push_back(MakeFamily(prometheus::MetricType::Counter, std::move(name), std::move(help),
                            std::move(samples)));
}

MetricSample Unlabelled(double value) { return {{}, value}; }

MetricSample Labelled(std::string name, std::string value, double sample) {
  return {{{std::move(name), std::move(value)}}, sample};
}

void AddLoad(const MetricsSnapshot& now, Families* out) {
  const EngineStats& engine = now.engine;
  AddGauge("sieve_requests_running", "Sequences (samples of requests) that take part in steps.",
           {Unlabelled(engine.running_sequences)}, out);
  AddGauge("sieve_requests_waiting",
           "Requests that wait to be scheduled, by priority: low (< 0), normal (0) or high (> 0).",
           {Labelled("priority", "low", engine.waiting_by_priority[0]),
            Labelled("priority", "normal", engine.waiting_by_priority[1]),
            Labelled("priority", "high", engine.waiting_by_priority[2])},
           out);
  AddGauge("sieve_requests_queued", "Requests that wait to be scheduled, of all priorities.",
           {Unlabelled(engine.waiting_requests)}, out);
  AddGauge("sieve_queued_prompt_tokens", "Prompt tokens of the requests that wait.",
           {Unlabelled(engine.waiting_prompt_tokens)}, out);
  AddGauge("sieve_prefill_tokens_per_second",
           "Prompt tokens computed a second of late, the rate that estimates use; 0 before the "
           "first prompt.",
           {Unlabelled(engine.prefill_rate)}, out);
  AddGauge("sieve_draining", "1 when the server is about to stop and takes no new requests.",
           {Unlabelled(now.draining ? 1 : 0)}, out);
}

// One sample a state, each page counted as `unit`.
std::vector<MetricSample> ByState(const EngineStats& engine, double unit) {
  return {Labelled("state", "free", engine.free_pages * unit),
          Labelled("state", "active", engine.active_pages * unit),
          Labelled("state", "cached", engine.cached_pages * unit)};
}

// As much as keys and values of a token take in a dense cache of bfloat16.
double DenseBytesPerToken(const CacheGeometry& cache) {
  CacheGeometry dense = cache;
  dense.dtype = DType::kBF16;
  dense.summary_bytes = 0;
  return static_cast<double>(dense.BytesPerPage()) / kPageTokens;
}

void AddCache(const EngineStats& engine, const CacheGeometry& cache, Families* out) {
  const double page_bytes = cache.BytesPerPage();
  const double token_bytes = page_bytes / kPageTokens;
  AddGauge("sieve_kv_pages",
           "Pages of the key/value cache: free, active (held by requests) or cached (kept for "
           "prefix reuse, given up when wanted).",
           ByState(engine, 1), out);
  AddGauge("sieve_kv_bytes", "Bytes of the key/value cache's pages, by the same states.",
           ByState(engine, page_bytes), out);
  AddGauge("sieve_kv_summary_bytes",
           "Of sieve_kv_bytes, room for what adapters keep of blocks, by the same states.",
           ByState(engine, cache.SummaryBytesPerPage()), out);
  AddGauge("sieve_kv_attributed_bytes",
           "Bytes of the key/value cache that live requests account for, each page in equal parts "
           "to those that share it.",
           {Unlabelled(engine.attributed_pages * page_bytes)}, out);
  AddGauge("sieve_kv_utilization_ratio", "Active pages to all pages, 0 to 1.",
           {Unlabelled(engine.total_pages > 0
                           ? static_cast<double>(engine.active_pages) / engine.total_pages
                           : 0)},
           out);
  AddGauge("sieve_kv_bytes_per_token", "Cache bytes of one token: keys, values and summaries.",
           {Unlabelled(token_bytes)}, out);
  AddGauge("sieve_kv_compression_ratio",
           "Bytes of a token in a dense bfloat16 cache to those in this one.",
           {Unlabelled(token_bytes > 0 ? DenseBytesPerToken(cache) / token_bytes : 0)}, out);
}

void AddTotals(const MetricsSnapshot& now, Families* out) {
  const EngineStats& engine = now.engine;
  AddCounter("sieve_prompt_tokens_total", "Prompt tokens, computed or found in the cache.",
             {Labelled("source", "computed", engine.prompt_tokens_computed),
              Labelled("source", "cached", engine.prompt_tokens_cached)},
             out);
  AddCounter("sieve_generated_tokens_total", "Tokens generated, of all samples.",
             {Unlabelled(engine.generated_tokens)}, out);
  AddCounter("sieve_preemptions_total", "Times that a sample lost its pages, to be computed again.",
             {Unlabelled(engine.preemptions)}, out);
  AddCounter("sieve_prefix_cache_queries_total",
             "Requests whose prompt was looked up in the cache.",
             {Unlabelled(engine.prefix_queries)}, out);
  AddCounter("sieve_prefix_cache_hits_total",
             "Requests that found a beginning of their prompt in the cache.",
             {Unlabelled(engine.prefix_hits)}, out);
  AddCounter("sieve_log_lines_dropped_total",
             "Log lines given up because what they are written to was too slow, full or gone.",
             {Unlabelled(now.log_lines_dropped)}, out);
}

void AddKeys(const std::string& adapter, const CacheReads& reads, std::vector<MetricSample>* out) {
  const auto of = [&adapter](const char* read, int64_t keys) {
    return MetricSample{{{"adapter", adapter}, {"read", read}}, static_cast<double>(keys)};
  };
  out->push_back(of("exact", reads.exact_keys));
  out->push_back(of("other", reads.causal_keys - reads.exact_keys));
}

void AddReads(const MetricsSnapshot& now, Families* out) {
  std::vector<MetricSample> keys;
  AddKeys("", now.engine.bare_reads, &keys);
  for (const AdapterInfo& adapter : now.adapters) AddKeys(adapter.name, adapter.reads, &keys);
  AddCounter("sieve_attention_keys_total",
             "Keys before and at computed tokens, of all layers, by adapter (empty: the bare "
             "model): read exactly, or left out or read through compressed entries.",
             std::move(keys), out);
  const CacheReads& reads = now.engine.reads;
  AddCounter("sieve_kv_read_bytes_total",
             "Bytes of the cache that attention read, each token counted for itself: keys and "
             "values, summaries for the choice of blocks, compressed entries.",
             {Labelled("kind", "keys_values", reads.key_value_bytes),
              Labelled("kind", "choice", reads.choice_bytes),
              Labelled("kind", "entries", reads.entry_bytes)},
             out);
}

void AddMemory(const MetricsSnapshot& now, Families* out) {
  const auto of = [&now](const char* purpose, double bytes) {
    return MetricSample{{{"device", now.memory_device}, {"purpose", purpose}}, bytes};
  };
  AddGauge(
      "sieve_memory_bytes",
      "Memory by device and purpose: weights (on the host mapped from files), kv (the whole cache, "
      "reserved at the start), workspace (activations), adapters (their weights).",
      {of("weights", now.weight_bytes), of("kv", now.cache_bytes),
       of("workspace", now.workspace_bytes), of("adapters", now.adapter_bytes)},
      out);
}

void AddStartup(const StartupTimes& startup, Families* out) {
  const auto of = [](const char* phase, absl::Duration time) {
    return Labelled("phase", phase, absl::ToDoubleSeconds(time));
  };
  AddGauge("sieve_startup_seconds",
           "Time that the phases of the start took, which follow each other.",
           {of("checkpoint", startup.checkpoint), of("tokenizer", startup.tokenizer),
            of("model", startup.model), of("listen", startup.listen)},
           out);
}

void AddModel(const ModelInfo& model, const EngineStats& engine, Families* out) {
  AddGauge("sieve_model_info", "The served model; always 1.",
           {{{{"name", model.config.name},
              {"architecture", model.config.architecture},
              {"weight_type", model.weight_type},
              {"kv_type", std::string(InfoOf(model.cache.dtype).name)}},
             1}},
           out);
  AddGauge("sieve_cache_config_info",
           "Shape of the key/value cache: tokens in a block (a page here) and how many there are; "
           "always 1.",
           {{{{"block_size", absl::StrCat(kPageTokens)},
              {"num_gpu_blocks", absl::StrCat(engine.total_pages)}},
             1}},
           out);
}

void AddAdapters(const MetricsSnapshot& now, Families* out) {
  std::vector<MetricSample> requests, load_times;
  std::vector<std::string> in_use;
  for (const AdapterInfo& adapter : now.adapters) {
    requests.push_back(Labelled("adapter", adapter.name, adapter.requests));
    load_times.push_back(
        Labelled("adapter", adapter.name, absl::ToDoubleSeconds(adapter.load_time)));
    if (adapter.open_requests > 0) in_use.push_back(adapter.name);
  }
  AddGauge("sieve_adapters_loaded", "Adapters that requests can name.",
           {Unlabelled(now.adapters.size())}, out);
  AddCounter("sieve_adapter_requests_total",
             "Requests with an adapter that were queued, by its name.", std::move(requests), out);
  AddGauge("sieve_adapter_load_seconds",
           "Time from the call that loaded an adapter until requests could name it.",
           std::move(load_times), out);
  // Each set of adapters is a series of its own, and the latest one counts.
  AddGauge("sieve_adapter_requests_info",
           "Adapters of requests that run or wait (comma-separated) and how many there may be; "
           "the value is the time of the scrape, as a Unix time in seconds.",
           {{{{"running_lora_adapters", absl::StrJoin(in_use, ",")},
              {"waiting_lora_adapters", ""},
              {"max_lora", absl::StrCat(now.max_adapters)}},
             absl::ToDoubleSeconds(absl::Now() - absl::UnixEpoch())}},
           out);
}

class SnapshotCollector : public prometheus::Collectable {
 public:
  SnapshotCollector(const ModelInfo* model, std::function<MetricsSnapshot()> source)
      : model_(*model), source_(std::move(source)) {}

  Families Collect() const override {
    const MetricsSnapshot now = source_();
    Families families;
    AddLoad(now, &families);
    AddCache(now.engine, model_.cache, &families);
    AddTotals(now, &families);
    AddReads(now, &families);
    AddMemory(now, &families);
    AddStartup(now.startup, &families);
    AddModel(model_, now.engine, &families);
    AddAdapters(now, &families);
    return families;
  }

 private:
  const ModelInfo& model_;
  const std::function<MetricsSnapshot()> source_;
};

}  // namespace

std::shared_ptr<prometheus::Collectable> MakeSnapshotCollector(
    const ModelInfo* model, std::function<MetricsSnapshot()> source) {
  return std::make_shared<SnapshotCollector>(model, std::move(source));
}

}  // namespace sieve
