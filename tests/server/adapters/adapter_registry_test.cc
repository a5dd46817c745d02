#include "server/adapters/adapter_registry.h"

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "model/adapter/adapter_file.h"
#include "tests/model/attention/random_adapter.h"
#include "tests/model/checkpoint/test_files.h"
#include "tests/server/event_collector.h"
#include "tests/server/fake_language_model.h"
#include "tests/server/fake_tokenizer.h"

namespace sieve {
namespace {

ModelConfig TinyModel() {
  ModelConfig model;
  model.name = "tiny";
  model.num_layers = 2;
  model.hidden_size = 8;
  model.num_heads = 2;
  model.num_kv_heads = 1;
  model.head_dim = 16;
  return model;
}

constexpr CacheGeometry kCache = {
    .num_layers = 2, .num_kv_heads = 1, .head_dim = 16, .dtype = DType::kBF16};

class AdapterRegistryTest : public testing::Test {
 protected:
  AdapterRegistryTest() {
    EngineConfig config;
    config.context_length = 4096;
    config.counter = CacheReadCounter(kCache);
    engine_ = Engine::Create(config, &model_, &tokenizer_, nullptr);
    MakeRegistry(/*max_bytes=*/0);
  }
  void MakeRegistry(int64_t max_bytes) {
    registry_ = std::make_unique<AdapterRegistry>(
        AdapterRegistryOptions{.model = TinyModel(),
                               .cache = kCache,
                               .base_digest = [] { return std::string(64, '0'); },
                               .max_query_tile = 16,
                               .max_bytes = max_bytes},
        engine_.get());
  }
  ~AdapterRegistryTest() override {
    registry_.reset();
    engine_.reset();
    EXPECT_EQ(model_.error(), "");
  }

  // A folder with an adapter of its own.
  std::string Write(uint64_t seed, int64_t query_tile = 1) {
    AdapterConfig config = AdapterConfigFor(TinyModel());
    config.query_tile = query_tile;
    const std::string dir = absl::StrCat(root_, "/", seed);
    const absl::Status status = WriteAdapter(RandomAdapter(config, seed), dir, DType::kF32);
    EXPECT_TRUE(status.ok()) << status;
    return dir;
  }
  void Load(const std::string& name, uint64_t seed, int64_t query_tile = 1) {
    const auto info = registry_->Load(name, Write(seed, query_tile));
    ASSERT_TRUE(info.ok()) << info.status();
    EXPECT_EQ(info->name, name);
  }

  // Empty: without an adapter.
  GenerationRequest Request(const std::string& adapter, int64_t prompt = 100) {
    GenerationRequest request;
    for (int64_t i = 0; i < prompt; ++i) request.prompt.push_back(i % 150);
    request.max_tokens = 40;
    request.ignore_eos = true;
    request.sampling.seed = 17;
    if (!adapter.empty()) request.adapter = registry_->Find(adapter).value();
    return request;
  }
  std::unique_ptr<EventCollector> Run(GenerationRequest request) {
    auto reader = std::make_unique<EventCollector>();
    const absl::Status submitted = engine_->Submit(std::move(request), reader->queue());
    EXPECT_TRUE(submitted.ok()) << submitted;
    const absl::Status status = reader->ReadAll([this] { engine_->Notify(); });
    EXPECT_TRUE(status.ok()) << status;
    return reader;
  }
  // The engine lets go of what ended a moment after it told so.
  void ExpectAdapters(int64_t count) {
    for (int i = 0; i < 2000 && model_.num_adapters() != count; ++i) {
      absl::SleepFor(absl::Milliseconds(1));
    }
    EXPECT_EQ(model_.num_adapters(), count);
  }

  const std::string root_ = TestFolder();
  FakeTokenizer tokenizer_;
  FakeLanguageModel model_{tokenizer_.vocabulary_size(), 64};
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<AdapterRegistry> registry_;
};

TEST_F(AdapterRegistryTest, RequestsOfSeveralAdaptersAndTheBaseRunTogether) {
  Load("a", 1);
  Load("b", 2, /*query_tile=*/16);
  const std::vector<std::string> names = {"", "a", "b"};
  std::vector<std::string> alone;
  for (const std::string& name : names) alone.push_back(Run(Request(name))->samples[0].text);
  EXPECT_NE(alone[0], alone[1]);
  EXPECT_NE(alone[1], alone[2]);
  EXPECT_NE(alone[2], alone[0]);
  std::vector<std::unique_ptr<EventCollector>> readers;
  for (int i = 0; i < 6; ++i) {
    readers.push_back(std::make_unique<EventCollector>());
    ASSERT_TRUE(engine_->Submit(Request(names[i % 3]), readers.back()->queue()).ok());
  }
  for (int i = 0; i < 6; ++i) {
    EXPECT_TRUE(readers[i]->ReadAll([this] { engine_->Notify(); }).ok());
    EXPECT_EQ(readers[i]->samples[0].text, alone[i % 3]);
  }
}

TEST_F(AdapterRegistryTest, TheCacheIsSharedWithinAnAdapter) {
  Load("a", 1);
  Load("b", 2);
  EXPECT_EQ(Run(Request("a"))->accepted->cached_prompt_tokens, 0);
  EXPECT_EQ(Run(Request("b"))->accepted->cached_prompt_tokens, 0);
  EXPECT_EQ(Run(Request(""))->accepted->cached_prompt_tokens, 0);
  EXPECT_EQ(Run(Request("a"))->accepted->cached_prompt_tokens, 64);
  EXPECT_EQ(engine_->EstimateCost(Request("b"))->cached_prompt_tokens, 64);
  // Also after it was away: a digest stands for what was computed.
  ASSERT_TRUE(registry_->Unload("a").ok());
  Load("again", 1);
  EXPECT_EQ(Run(Request("again"))->accepted->cached_prompt_tokens, 64);
}

TEST_F(AdapterRegistryTest, ListsWhatIsLoaded) {
  EXPECT_TRUE(registry_->List().empty());
  Load("b", 2);
  Load("a", 1, /*query_tile=*/16);
  const GenerationRequest held = Request("a");
  ASSERT_TRUE(engine_->EstimateCost(Request("a")).ok());  // counts as none
  Run(Request("a"));
  const std::vector<AdapterInfo> list = registry_->List();
  ASSERT_EQ(list.size(), 2u);
  EXPECT_EQ(list[0].name, "a");
  EXPECT_EQ(list[0].config.query_tile, 16);
  EXPECT_EQ(list[0].digest.size(), 64u);
  EXPECT_GT(list[0].parameters, 0);
  EXPECT_GT(list[0].load_time, absl::ZeroDuration());
  EXPECT_EQ(list[0].requests, 1);
  EXPECT_EQ(list[0].open_requests, 1);
  EXPECT_EQ(list[1].name, "b");
  EXPECT_EQ(list[1].open_requests, 0);
}

TEST_F(AdapterRegistryTest, TellsWhatItsRequestsRead) {
  Load("a", 1);
  AdapterInfo info = registry_->List()[0];
  EXPECT_EQ(info.reads.causal_keys, 0);
  EXPECT_EQ(info.sparse_density, 1);
  EXPECT_EQ(info.summary.statistics, 32);
  // 1 + 8 + 8 blocks and the token's own are read; a prompt of 19 leaves one out at its end. The
  // last token is drawn, not computed.
  const auto reader = Run(Request("a", 19 * 64));
  const int64_t computed = 19 * 64 + 39, beyond = computed - 18 * 64;
  const CacheReads& reads = reader->samples[0].finished->reads;
  EXPECT_EQ(reads.causal_keys, 2 * computed * (computed + 1) / 2);
  EXPECT_EQ(reads.causal_keys - reads.exact_keys, 2 * (64 * 64 + (beyond - 64) * 128));
  Run(Request("", 64));
  info = registry_->List()[0];
  EXPECT_EQ(info.reads.causal_keys, reads.causal_keys);
  EXPECT_EQ(info.reads.bytes(), reads.bytes());
  EXPECT_EQ(info.sparse_density, reads.density());
  const EngineStats stats = engine_->stats();
  EXPECT_EQ(stats.bare_reads.causal_keys, 2 * 103 * 104 / 2);
  EXPECT_EQ(stats.bare_reads.exact_keys, stats.bare_reads.causal_keys);
  EXPECT_EQ(stats.reads.exact_keys, stats.bare_reads.exact_keys + reads.exact_keys);
  // What is found in the cache is not computed: the last page of the prompt, and what follows.
  const CacheReads again = Run(Request("a", 19 * 64))->samples[0].finished->reads;
  EXPECT_EQ(again.causal_keys, reads.causal_keys - 2 * 18 * 64 * (18 * 64 + 1) / 2);
}

TEST_F(AdapterRegistryTest, RefusesWhatItCannotServe) {
  Load("a", 1);
  EXPECT_EQ(registry_->Load("a", Write(2)).status().code(), absl::StatusCode::kAlreadyExists);
  for (const std::string name : {"", ".", "..", "a/b", "a b", "\xc3\xa9"}) {
    ExpectInvalid(registry_->Load(name, Write(2)).status(), "1 to 64");
  }
  ExpectInvalid(registry_->Load(std::string(65, 'x'), Write(2)).status(), "1 to 64");
  const absl::Status none = registry_->Load("none", root_ + "/none").status();
  EXPECT_EQ(none.code(), absl::StatusCode::kNotFound);
  EXPECT_NE(std::string(none.message()).find("adapter \"none\""), std::string::npos) << none;
  const absl::Status tile = registry_->Load("tile", Write(3, 64)).status();
  EXPECT_EQ(tile.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(std::string(tile.message()).find("--max_step_tokens"), std::string::npos) << tile;
  model_.set_refused_tile(16);
  ExpectInvalid(registry_->Load("refused", Write(4, 16)).status(), "the fake does not");
  AdapterConfig other = AdapterConfigFor(TinyModel(), std::string(64, '1'));
  ASSERT_TRUE(WriteAdapter(RandomAdapter(other, 1), root_ + "/other", DType::kF32).ok());
  ExpectInvalid(registry_->Load("other", root_ + "/other").status(), "weights");
  EXPECT_EQ(registry_->List().size(), 1u);
  EXPECT_EQ(model_.num_adapters(), 1);
  // What failed may be tried again.
  Load("none", 5);
}

TEST_F(AdapterRegistryTest, FindNamesWhatThereIs) {
  const absl::Status empty = registry_->Find("x").status();
  EXPECT_EQ(empty.code(), absl::StatusCode::kNotFound);
  EXPECT_NE(std::string(empty.message()).find("there is none"), std::string::npos) << empty;
  Load("b", 1);
  Load("a", 2);
  const absl::Status other = registry_->Find("x").status();
  EXPECT_NE(std::string(other.message()).find("there are: a, b"), std::string::npos) << other;
}

TEST_F(AdapterRegistryTest, AnUnloadedAdapterStaysUntilItsLastRequestEnds) {
  Load("a", 1);
  const std::string alone = Run(Request("a"))->samples[0].text;
  GenerationRequest request = Request("a");
  ASSERT_TRUE(registry_->Unload("a").ok());
  EXPECT_EQ(registry_->Unload("a").code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(registry_->Find("a").status().code(), absl::StatusCode::kNotFound);
  Load("a", 2);  // another one under the same name, in another slot
  EXPECT_EQ(model_.num_adapters(), 2);
  const std::string other = Run(Request("a"))->samples[0].text;
  EXPECT_NE(other, alone);
  EXPECT_EQ(Run(std::move(request))->samples[0].text, alone);
  request = {};
  ExpectAdapters(1);
  ASSERT_TRUE(registry_->Unload("a").ok());
  ExpectAdapters(0);
}

TEST_F(AdapterRegistryTest, SlotsAreUsedAgain) {
  const std::string dir = Write(1);
  for (int i = 0; i < kAdapterSlots + 10; ++i) {
    const auto info = registry_->Load("a", dir);
    ASSERT_TRUE(info.ok()) << i << ": " << info.status();
    ASSERT_TRUE(registry_->Unload("a").ok());
  }
  ExpectAdapters(0);
  for (int i = 0; i < kAdapterSlots; ++i) {
    ASSERT_TRUE(registry_->Load(absl::StrCat(i), dir).ok());
  }
  EXPECT_EQ(registry_->Load("more", dir).status().code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(AdapterRegistryTest, ASlotThatCouldNotBeEmptiedIsNotLost) {
  const std::string dir = Write(1);
  model_.set_fail_emptying(true);
  for (int i = 0; i < kAdapterSlots + 10; ++i) {
    const auto info = registry_->Load("a", dir);
    ASSERT_TRUE(info.ok()) << i << ": " << info.status();
    ASSERT_TRUE(registry_->Unload("a").ok());
  }
  model_.set_fail_emptying(false);
  Load("a", 2);
  EXPECT_NE(Run(Request("a"))->samples[0].text, "");
}

// Bytes count until the last request has ended.
TEST_F(AdapterRegistryTest, TheWeightsOfAllAreBounded) {
  Load("a", 1);
  const int64_t bytes = registry_->List()[0].parameters * 4;
  ASSERT_TRUE(registry_->Unload("a").ok());
  ExpectAdapters(0);
  MakeRegistry(2 * bytes + bytes / 2);
  Load("a", 1);
  Load("b", 2);
  const absl::Status third = registry_->Load("c", Write(3)).status();
  EXPECT_EQ(third.code(), absl::StatusCode::kResourceExhausted);
  for (const std::string& part : std::vector<std::string>{
           std::to_string(bytes), std::to_string(2 * bytes), "--max_adapter_mb"}) {
    EXPECT_NE(std::string(third.message()).find(part), std::string::npos) << third;
  }
  GenerationRequest request = Request("a");
  ASSERT_TRUE(registry_->Unload("a").ok());
  EXPECT_EQ(registry_->Load("c", Write(3)).status().code(), absl::StatusCode::kResourceExhausted);
  request = {};
  ExpectAdapters(1);
  // The engine says so a moment before the registry knows.
  absl::Status status;
  for (int i = 0; i < 2000; ++i) {
    status = registry_->Load("c", Write(3)).status();
    if (status.ok()) break;
    absl::SleepFor(absl::Milliseconds(1));
  }
  EXPECT_TRUE(status.ok()) << status;
}

// Nothing of an adapter is freed on the engine's thread, which has steps to run.
TEST_F(AdapterRegistryTest, TheEngineDoesNotFreeTheWeights) {
  Load("a", 1);
  Load("b", 2);
  std::thread::id engine_thread;
  model_.set_hook([&](const Batch&, absl::Span<float>) {
    engine_thread = std::this_thread::get_id();
    return absl::OkStatus();
  });
  Run(Request("b"));
  model_.set_hook(nullptr);
  const std::weak_ptr<const Adapter> weights = model_.adapter(0);
  std::atomic<bool> freed_by_engine = false;
  ASSERT_FALSE(weights.expired());
  // The fake lets go on the engine's thread; somebody else must still hold them then.
  model_.set_on_emptied(
      [&] { freed_by_engine = std::this_thread::get_id() == engine_thread && weights.expired(); });
  ASSERT_TRUE(registry_->Unload("a").ok());
  ExpectAdapters(1);
  for (int i = 0; i < 2000 && !weights.expired(); ++i) absl::SleepFor(absl::Milliseconds(1));
  EXPECT_TRUE(weights.expired());
  EXPECT_FALSE(freed_by_engine);
}

// A model on a GPU holds the weights in the GPU's memory: none stay on the host.
TEST_F(AdapterRegistryTest, WeightsThatTheModelCopiedAreNotKept) {
  model_.set_copies_adapters();
  Load("a", 1);
  EXPECT_NE(model_.adapter(0), nullptr);
  EXPECT_EQ(model_.given(), nullptr);
  Run(Request("a"));
  ASSERT_TRUE(registry_->Unload("a").ok());
  ExpectAdapters(0);
}

// A folder of the root that is, or becomes, a link leads nowhere.
TEST_F(AdapterRegistryTest, LinksInARootAreNotFollowed) {
  Write(1);
  Write(2);
  namespace fs = std::filesystem;
  fs::create_directory(root_ + "/root");
  fs::rename(root_ + "/1", root_ + "/root/good");
  fs::create_directory_symlink(root_ + "/2", root_ + "/root/link");
  fs::create_directory(root_ + "/root/files");
  for (const char* file : {kAdapterConfigFile, kAdapterTensorsFile}) {
    fs::create_symlink(root_ + "/2/" + file, root_ + "/root/files/" + file);
  }
  EXPECT_TRUE(registry_->LoadFrom(root_ + "/root", "good", "good").ok());
  for (const std::string name : {"link", "files"}) {
    const absl::Status status = registry_->LoadFrom(root_ + "/root", name, name).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied) << status;
    EXPECT_NE(std::string(status.message()).find("link"), std::string::npos) << status;
    EXPECT_EQ(std::string(status.message()).find(root_), std::string::npos) << status;
  }
  EXPECT_EQ(registry_->LoadFrom(root_ + "/root", "none", "none").status().code(),
            absl::StatusCode::kNotFound);
  ExpectInvalid(registry_->LoadFrom(root_ + "/root", "..", "up").status(), "name");
  // Where the operator says which folder it is, links are links.
  EXPECT_TRUE(registry_->Load("files", root_ + "/root/files").ok());
}

TEST_F(AdapterRegistryTest, AdaptersComeAndGoWhileRequestsRun) {
  Load("steady", 1);
  const std::string alone = Run(Request("steady"))->samples[0].text;
  std::atomic<bool> done = false;
  std::thread changing([&] {
    const std::string dir = Write(2);
    while (!done) {
      ASSERT_TRUE(registry_->Load("passing", dir).ok());
      ASSERT_TRUE(registry_->Unload("passing").ok());
    }
  });
  for (int i = 0; i < 20; ++i) EXPECT_EQ(Run(Request("steady"))->samples[0].text, alone);
  done = true;
  changing.join();
  ExpectAdapters(1);
}

TEST_F(AdapterRegistryTest, AStoppedEngineTakesNoAdapter) {
  Load("a", 1);
  engine_->Stop();
  EXPECT_EQ(registry_->Load("b", Write(2)).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(registry_->Unload("a").ok());
}

TEST_F(AdapterRegistryTest, RequestsMayOutliveTheRegistry) {
  Load("a", 1);
  const GenerationRequest request = Request("a");
  registry_.reset();
}

}  // namespace
}  // namespace sieve
