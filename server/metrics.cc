#include "server/metrics.h"

#include <string>
#include <utility>

#include "prometheus/metric_family.h"
#include "server/version.h"

namespace sieve {
namespace {

using prometheus::MetricFamily;
using prometheus::MetricType;

// Upper bounds in seconds: a quarter millisecond (one token of a small model) to two minutes (a
// long prefill).
prometheus::Histogram::BucketBoundaries LatencyBuckets() {
  return {0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
          0.25,    0.5,    1,     2.5,    5,     10,   30,    60,   120};
}

prometheus::Histogram& AddLatency(prometheus::Registry& registry, const std::string& name,
                                  const std::string& help) {
  return prometheus::BuildHistogram().Name(name).Help(help).Register(registry).Add(
      {}, LatencyBuckets());
}

using Label = prometheus::ClientMetric::Label;

struct Sample {
  std::vector<Label> labels;
  int64_t value = 0;
};

MetricFamily MakeFamily(MetricType type, std::string name, std::string help,
                        std::vector<Sample> samples) {
  MetricFamily family;
  family.name = std::move(name);
  family.help = std::move(help);
  family.type = type;
  for (Sample& sample : samples) {
    prometheus::ClientMetric metric;
    metric.label = std::move(sample.labels);
    const double value = static_cast<double>(sample.value);
    (type == MetricType::Counter ? metric.counter.value : metric.gauge.value) = value;
    family.metric.push_back(std::move(metric));
  }
  return family;
}

class SnapshotCollector : public prometheus::Collectable {
 public:
  SnapshotCollector(const ModelInfo* model, std::function<MetricsSnapshot()> source)
      : model_(*model), source_(std::move(source)) {}

  std::vector<MetricFamily> Collect() const override {
    const MetricsSnapshot now = source_();
    const EngineStats& engine = now.engine;
    const int64_t page_bytes = model_.cache.BytesPerPage();
    return {
        MakeFamily(MetricType::Gauge, "sieve_requests_running",
                   "Sequences (samples) that take part in engine steps.",
                   {{{}, engine.running_sequences}}),
        MakeFamily(MetricType::Gauge, "sieve_requests_waiting",
                   "Requests that wait to be scheduled.", {{{}, engine.waiting_requests}}),
        MakeFamily(MetricType::Gauge, "sieve_kv_pages",
                   "Pages of the key/value cache: active (held by requests), cached (kept for "
                   "prefix reuse) or free.",
                   {{{{"state", "active"}}, engine.active_pages},
                    {{{"state", "cached"}}, engine.cached_pages},
                    {{{"state", "free"}}, engine.free_pages}}),
        MakeFamily(MetricType::Gauge, "sieve_kv_bytes", "Bytes of the key/value cache's pages.",
                   {{{{"state", "active"}}, engine.active_pages * page_bytes},
                    {{{"state", "cached"}}, engine.cached_pages * page_bytes},
                    {{{"state", "free"}}, engine.free_pages * page_bytes}}),
        MakeFamily(MetricType::Counter, "sieve_prompt_tokens_total",
                   "Prompt tokens, computed or found in the cache.",
                   {{{{"source", "computed"}}, engine.prompt_tokens_computed},
                    {{{"source", "cached"}}, engine.prompt_tokens_cached}}),
        MakeFamily(MetricType::Counter, "sieve_generated_tokens_total", "Tokens generated.",
                   {{{}, engine.generated_tokens}}),
        MakeFamily(MetricType::Counter, "sieve_preemptions_total",
                   "Times that a sequence lost its pages and was computed again.",
                   {{{}, engine.preemptions}}),
        MakeFamily(MetricType::Gauge, "sieve_memory_bytes", "Memory in use by purpose.",
                   {{{{"purpose", "weights"}}, now.weight_bytes},
                    {{{"purpose", "kv"}}, now.cache_bytes},
                    {{{"purpose", "workspace"}}, now.workspace_bytes}}),
        MakeFamily(MetricType::Gauge, "sieve_model_info", "The served model; always 1.",
                   {{{{"name", model_.config.name},
                      {"architecture", model_.config.architecture},
                      {"weight_type", model_.weight_type},
                      {"server_version", std::string(kServerVersion)}},
                     1}}),
    };
  }

 private:
  const ModelInfo& model_;
  const std::function<MetricsSnapshot()> source_;
};

}  // namespace

Metrics::Metrics()
    : registry_(std::make_shared<prometheus::Registry>()),
      requests_(prometheus::BuildCounter()
                    .Name("sieve_requests_total")
                    .Help("Generation requests that ended, by gRPC status code.")
                    .Register(*registry_)),
      step_seconds_(AddLatency(*registry_, "sieve_engine_step_seconds", "Time of engine steps.")),
      time_to_first_token_seconds_(AddLatency(*registry_, "sieve_time_to_first_token_seconds",
                                              "Time from a request's arrival to its first token.")),
      inter_token_seconds_(AddLatency(*registry_, "sieve_inter_token_latency_seconds",
                                      "Time between two tokens of a sample.")) {
  requests_.Add({{"code", "OK"}});  // so that a rate is defined before the first request
}

void Metrics::OnStep(const StepRecord& step) {
  step_seconds_.Observe(absl::ToDoubleSeconds(step.plan + step.forward + step.sample));
}

void Metrics::OnFirstToken(absl::Duration time_to_first_token) {
  time_to_first_token_seconds_.Observe(absl::ToDoubleSeconds(time_to_first_token));
}

void Metrics::OnInterToken(absl::Duration gap) {
  inter_token_seconds_.Observe(absl::ToDoubleSeconds(gap));
}

void Metrics::OnEnd(const RequestRecord& record) {
  requests_.Add({{"code", absl::StatusCodeToString(record.status.code())}}).Increment();
}

void Metrics::OnRefused(const absl::Status& status) {
  requests_.Add({{"code", absl::StatusCodeToString(status.code())}}).Increment();
}

std::shared_ptr<prometheus::Collectable> MakeSnapshotCollector(
    const ModelInfo* model, std::function<MetricsSnapshot()> source) {
  return std::make_shared<SnapshotCollector>(model, std::move(source));
}

}  // namespace sieve
