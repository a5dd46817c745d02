#include "server/snapshot_collector.h"

#include <string>

#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "prometheus/metric_family.h"
#include "tests/server/scrape.h"

namespace sieve {
namespace {

using testing::HasSubstr;

class SnapshotCollectorTest : public testing::Test {
 protected:
  SnapshotCollectorTest() {
    model_.config.name = "tiny";
    model_.config.architecture = "llama";
    model_.weight_type = "q4_1";
    // 1 head x 64 tokens x 2 x 8 x 4 bytes = 4096 bytes a page, 64 a token.
    model_.cache = {.num_layers = 1, .num_kv_heads = 1, .head_dim = 8, .dtype = DType::kF32};
  }

  std::string Text() const {
    return Serialize({MakeSnapshotCollector(&model_, [this] { return snapshot_; })});
  }

  ModelInfo model_;
  MetricsSnapshot snapshot_;
};

TEST_F(SnapshotCollectorTest, EveryFigureStandsUnderItsName) {
  snapshot_.engine.running_sequences = 2;
  snapshot_.engine.waiting_requests = 33;
  snapshot_.engine.waiting_by_priority = {4, 13, 16};
  snapshot_.engine.waiting_prompt_tokens = 34;
  snapshot_.engine.total_pages = 16;
  snapshot_.engine.active_pages = 4;
  snapshot_.engine.cached_pages = 5;
  snapshot_.engine.free_pages = 7;
  snapshot_.engine.attributed_pages = 3.75;
  snapshot_.engine.prompt_tokens_computed = 70;
  snapshot_.engine.prompt_tokens_cached = 80;
  snapshot_.engine.generated_tokens = 90;
  snapshot_.engine.preemptions = 10;
  snapshot_.engine.prefix_queries = 21;
  snapshot_.engine.prefix_hits = 20;
  snapshot_.engine.prefill_rate = 1234.5;
  snapshot_.engine.reads = {900, 800, 41, 42, 43};
  snapshot_.engine.bare_reads = {.causal_keys = 100, .exact_keys = 70};
  snapshot_.weight_bytes = 11;
  snapshot_.cache_bytes = 12;
  snapshot_.workspace_bytes = 13;
  snapshot_.log_lines_dropped = 14;
  snapshot_.startup.checkpoint = absl::Milliseconds(1);
  snapshot_.startup.tokenizer = absl::Milliseconds(20);
  snapshot_.startup.model = absl::Milliseconds(300);
  snapshot_.startup.listen = absl::Milliseconds(4000);
  const std::string text = Text();
  for (const char* line :
       {"sieve_requests_running 2\n",
        "sieve_requests_waiting{priority=\"low\"} 4\n",
        "sieve_requests_waiting{priority=\"normal\"} 13\n",
        "sieve_requests_waiting{priority=\"high\"} 16\n",
        "sieve_requests_queued 33\n",
        "sieve_queued_prompt_tokens 34\n",
        "sieve_kv_pages{state=\"active\"} 4\n",
        "sieve_kv_pages{state=\"cached\"} 5\n",
        "sieve_kv_pages{state=\"free\"} 7\n",
        "sieve_kv_bytes{state=\"active\"} 16384\n",
        "sieve_kv_bytes{state=\"cached\"} 20480\n",
        "sieve_kv_bytes{state=\"free\"} 28672\n",
        "sieve_kv_summary_bytes{state=\"active\"} 0\n",
        "sieve_kv_attributed_bytes 15360\n",
        "sieve_attention_keys_total{adapter=\"\",read=\"exact\"} 70\n",
        "sieve_attention_keys_total{adapter=\"\",read=\"other\"} 30\n",
        "sieve_kv_read_bytes_total{kind=\"keys_values\"} 41\n",
        "sieve_kv_read_bytes_total{kind=\"choice\"} 42\n",
        "sieve_kv_read_bytes_total{kind=\"entries\"} 43\n",
        "sieve_kv_utilization_ratio 0.25\n",
        "sieve_kv_bytes_per_token 64\n",
        "sieve_kv_compression_ratio 0.5\n",
        "sieve_prompt_tokens_total{source=\"computed\"} 70\n",
        "sieve_prompt_tokens_total{source=\"cached\"} 80\n",
        "sieve_generated_tokens_total 90\n",
        "sieve_preemptions_total 10\n",
        "sieve_prefix_cache_queries_total 21\n",
        "sieve_prefix_cache_hits_total 20\n",
        "sieve_log_lines_dropped_total 14\n",
        "sieve_prefill_tokens_per_second 1234.5\n",
        "sieve_draining 0\n",
        "sieve_memory_bytes{device=\"host\",purpose=\"weights\"} 11\n",
        "sieve_memory_bytes{device=\"host\",purpose=\"kv\"} 12\n",
        "sieve_memory_bytes{device=\"host\",purpose=\"workspace\"} 13\n",
        "sieve_startup_seconds{phase=\"checkpoint\"} 0.001\n",
        "sieve_startup_seconds{phase=\"tokenizer\"} 0.02\n",
        "sieve_startup_seconds{phase=\"model\"} 0.3\n",
        "sieve_startup_seconds{phase=\"listen\"} 4\n",
        "sieve_model_info{name=\"tiny\",architecture=\"llama\",weight_type=\"q4_1\",kv_type="
        "\"f32\"} 1\n",
        "sieve_cache_config_info{block_size=\"64\",num_gpu_blocks=\"16\"} 1\n",
        "# TYPE sieve_generated_tokens_total counter\n",
        "# TYPE sieve_requests_running gauge\n"}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
}

TEST_F(SnapshotCollectorTest, CountsAdaptersByName) {
  EXPECT_THAT(Text(), HasSubstr("sieve_adapters_loaded 0\n"));
  snapshot_.max_adapters = 5;
  snapshot_.adapters.resize(3);
  for (int i = 0; i < 3; ++i) {
    snapshot_.adapters[i].name = std::string(1, 'a' + i);
    snapshot_.adapters[i].requests = 10 + i;
    snapshot_.adapters[i].open_requests = i;
    snapshot_.adapters[i].reads = {.causal_keys = 100, .exact_keys = 10 + i};
    snapshot_.adapters[i].load_time = absl::Milliseconds(500);
  }
  const std::string text = Text();
  EXPECT_THAT(text, HasSubstr("sieve_adapters_loaded 3\n"));
  EXPECT_THAT(text, HasSubstr("sieve_adapter_requests_total{adapter=\"b\"} 11\n"));
  EXPECT_THAT(text, HasSubstr("sieve_adapter_load_seconds{adapter=\"c\"} 0.5\n"));
  EXPECT_THAT(text, HasSubstr("sieve_attention_keys_total{adapter=\"b\",read=\"exact\"} 11\n"));
  EXPECT_THAT(text, HasSubstr("sieve_attention_keys_total{adapter=\"b\",read=\"other\"} 89\n"));
  EXPECT_THAT(text, HasSubstr("{running_lora_adapters=\"b,c\",waiting_lora_adapters=\"\","
                              "max_lora=\"5\"}"));
}

TEST_F(SnapshotCollectorTest, IsReadAtEveryScrape) {
  EXPECT_THAT(Text(), HasSubstr("sieve_draining 0\n"));
  snapshot_.draining = true;
  EXPECT_THAT(Text(), HasSubstr("sieve_draining 1\n"));
}

TEST_F(SnapshotCollectorTest, CompressionIsAgainstADenseBfloat16Cache) {
  model_.cache.dtype = DType::kF16;
  EXPECT_THAT(Text(), HasSubstr("sieve_kv_compression_ratio 1\n"));
  model_.cache.summary_bytes = model_.cache.HeadBytes() * 2;  // as much again
  snapshot_.engine.active_pages = 3;
  const std::string text = Text();
  EXPECT_THAT(text, HasSubstr("sieve_kv_compression_ratio 0.5\n"));
  EXPECT_THAT(text, HasSubstr("sieve_kv_bytes{state=\"active\"} 12288\n"));
  EXPECT_THAT(text, HasSubstr("sieve_kv_summary_bytes{state=\"active\"} 6144\n"));
}

TEST_F(SnapshotCollectorTest, RatiosOfNothingAreZero) {
  model_.cache = {};
  const std::string text = Text();
  EXPECT_THAT(text, HasSubstr("sieve_kv_utilization_ratio 0\n"));
  EXPECT_THAT(text, HasSubstr("sieve_kv_compression_ratio 0\n"));
}

// A gateway takes the series with the latest time.
TEST_F(SnapshotCollectorTest, TheAdapterSeriesCarriesTheTime) {
  const double before = absl::ToDoubleSeconds(absl::Now() - absl::UnixEpoch());
  const auto collector = MakeSnapshotCollector(&model_, [this] { return snapshot_; });
  for (const prometheus::MetricFamily& family : collector->Collect()) {
    if (family.name != "sieve_adapter_requests_info") continue;
    ASSERT_EQ(family.metric.size(), 1);
    EXPECT_GE(family.metric[0].gauge.value, before);
    EXPECT_LE(family.metric[0].gauge.value, before + 60);
    return;
  }
  FAIL() << "sieve_adapter_requests_info is missing";
}

}  // namespace
}  // namespace sieve
