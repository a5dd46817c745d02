// Adapters as clients see them: the whole server in this process, over gRPC.

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "model/adapter/adapter_file.h"
#include "model/adapter/base_digest.h"
#include "model/checkpoint/checkpoint.h"
#include "server/server.h"
#include "sieve/v1/generation.grpc.pb.h"
#include "tests/model/attention/random_adapter.h"
#include "tests/model/checkpoint/test_files.h"
#include "tests/server/scrape.h"
#include "tests/server/tsan_suppressions.h"
#include "tests/testdata/files.h"
#include "tests/testdata/tiny_llama.h"

namespace sieve {
namespace {

using grpc::StatusCode;
using testing::AllOf;
using testing::HasSubstr;

class AdapterServerTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(WriteTinyGguf(model_, TinyLlamaSpec{}).ok());
    const auto checkpoint = OpenCheckpoint(model_);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    adapter_ = AdapterConfigFor((*checkpoint)->config(),
                                BaseDigest((*checkpoint)->config(), (*checkpoint)->weights()));
    std::filesystem::create_directory(root_ + "/adapters");
    // Reads little of a long context, and nothing else of a short one.
    adapter_.window_blocks = 0;
    adapter_.selected_blocks = 1;
    Write("trained");
  }

  void Write(const std::string& name) {
    const absl::Status status = WriteAdapter(RandomAdapter(adapter_, 1), Folder(name), DType::kF32);
    ASSERT_TRUE(status.ok()) << status;
  }
  std::string Folder(const std::string& name) { return root_ + "/adapters/" + name; }

  ServerConfig Config() {
    ServerConfig config;
    config.model.path = model_;
    config.model.device = Device::kCpu;
    config.model.cache_bytes = 8 << 20;
    config.model.num_threads = 1;
    config.grpc = {.host = "127.0.0.1"};
    config.metrics = ListenAddress{.host = "127.0.0.1"};
    return config;
  }
  ServerConfig WithRoot() {
    ServerConfig config = Config();
    config.model.adapter_root = root_ + "/adapters";
    return config;
  }

  absl::Status Start(ServerConfig config) {
    server_ = Server::Listen(std::move(config)).value();
    client_ = v1::Generation::NewStub(grpc::CreateChannel(
        absl::StrCat("127.0.0.1:", server_->grpc_port()), grpc::InsecureChannelCredentials()));
    return server_->Load();
  }

  std::unique_ptr<grpc::ClientContext> Call() {
    auto call = std::make_unique<grpc::ClientContext>();
    if (!key_.empty()) call->AddMetadata("x-api-key", key_);
    return call;
  }
  grpc::Status Generate(const std::string& adapter, int tokens = 200) {
    v1::GenerateRequest request;
    for (int i = 0; i < tokens; ++i) request.mutable_token_ids()->add_ids(10 + i % 50);
    request.mutable_stop()->set_max_tokens(8);
    request.mutable_stop()->set_ignore_eos(true);
    request.mutable_sampling()->set_temperature(0);
    request.set_logprobs(0);
    request.set_adapter(adapter);
    return client_->GenerateOnce(Call().get(), request, &response_);
  }
  // Log-probabilities of what the last call generated.
  std::vector<float> Logprobs() const {
    std::vector<float> values;
    for (const v1::PositionLogprobs& position : response_.samples(0).logprobs()) {
      values.push_back(position.chosen().logprob());
    }
    return values;
  }
  grpc::Status Load(const std::string& name, const std::string& folder = "") {
    v1::LoadAdapterRequest request;
    request.set_name(name);
    if (!folder.empty()) request.set_folder(folder);
    return client_->LoadAdapter(Call().get(), request, &loaded_);
  }
  grpc::Status Unload(const std::string& name) {
    v1::UnloadAdapterRequest request;
    request.set_name(name);
    v1::UnloadAdapterResponse response;
    return client_->UnloadAdapter(Call().get(), request, &response);
  }
  std::vector<std::string> List() {
    v1::ListAdaptersResponse response;
    EXPECT_TRUE(client_->ListAdapters(Call().get(), {}, &response).ok());
    std::vector<std::string> names;
    for (const v1::AdapterInfo& adapter : response.adapters()) names.push_back(adapter.name());
    return names;
  }

  const std::string root_ = TestFolder();
  const std::string model_ = root_ + "/tiny.gguf";
  AdapterConfig adapter_;
  std::string key_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<v1::Generation::Stub> client_;
  v1::GenerateResponse response_;
  v1::LoadAdapterResponse loaded_;
};

TEST_F(AdapterServerTest, ServesTheAdaptersOfTheStartBesideTheBareModel) {
  ServerConfig config = Config();
  config.model.adapters = {{"a", Folder("trained")}};
  const absl::Status started = Start(std::move(config));
  ASSERT_TRUE(started.ok()) << started;
  EXPECT_EQ(List(), std::vector<std::string>{"a"});

  // With all of the context in reach nothing differs, to the last bit.
  ASSERT_TRUE(Generate("", 100).ok());
  const std::vector<float> dense_short = Logprobs();
  ASSERT_TRUE(Generate("a", 100).ok());
  EXPECT_EQ(Logprobs(), dense_short);
  ASSERT_TRUE(Generate("", 700).ok());
  const std::vector<float> dense_long = Logprobs();
  ASSERT_TRUE(Generate("a", 700).ok());
  EXPECT_NE(Logprobs(), dense_long);
  const v1::CacheReads& reads = response_.samples(0).finished().reads();
  EXPECT_LT(reads.exact_keys(), reads.causal_keys());
  EXPECT_GT(reads.key_value_bytes(), 0);
  EXPECT_GT(reads.choice_bytes(), 0);
  EXPECT_GT(reads.entry_bytes(), 0);
  EXPECT_EQ(response_.accepted().cached_prompt_tokens(), 64) << "of the adapter's, not the base's";
  ASSERT_TRUE(Generate("", 700).ok());
  EXPECT_EQ(Logprobs(), dense_long);

  const grpc::Status unknown = Generate("b");
  EXPECT_EQ(unknown.error_code(), StatusCode::NOT_FOUND);
  EXPECT_THAT(unknown.error_message(), AllOf(HasSubstr("\"b\""), HasSubstr("there are: a")));

  v1::GetModelResponse model;
  ASSERT_TRUE(client_->GetModel(Call().get(), {}, &model).ok());
  ASSERT_EQ(model.adapters_size(), 1);
  const v1::AdapterInfo& info = model.adapters(0);
  EXPECT_EQ(info.name(), "a");
  EXPECT_EQ(info.selector(), "index");
  EXPECT_EQ(info.selected_blocks(), 1);
  EXPECT_EQ(info.digest().size(), 64u);
  EXPECT_GT(info.parameters(), 0);
  EXPECT_TRUE(info.tail());
  EXPECT_EQ(info.requests(), 2);
  EXPECT_EQ(info.reads().causal_keys(), model.shape().num_layers() * (107 * 108 + 707 * 708) / 2 -
                                            model.shape().num_layers() * 64 * 65 / 2)
      << "all but a page that was found in the cache";
  ASSERT_EQ(info.layer_density_size(), model.shape().num_layers());
  EXPECT_LT(info.layer_density(0), 0.5);
  EXPECT_NEAR(info.layer_density(0),
              static_cast<double>(info.reads().exact_keys()) / info.reads().causal_keys(), 1e-9);
  EXPECT_GT(info.summary_bytes_per_page().statistics(), 0);
  EXPECT_GT(info.summary_bytes_per_page().index(), 0);
  EXPECT_GT(info.summary_bytes_per_page().entries(), 0);
  EXPECT_GT(model.reads().causal_keys(), info.reads().causal_keys());
  EXPECT_GT(model.cache().summary_bytes_per_page(), 0);
  EXPECT_THAT(Scrape(server_->metrics_port()),
              AllOf(HasSubstr("sieve_adapters_loaded 1\n"),
                    HasSubstr("sieve_adapter_requests_total{adapter=\"a\"} 2\n"),
                    HasSubstr("max_lora=\"256\"")));
  EXPECT_EQ(Load("b", "trained").error_code(), StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(Unload("a").error_code(), StatusCode::PERMISSION_DENIED);
}

// Lengths around every border of blocks, window and tiles; one token; padding, which to a server is
// a special token over and over; one token repeated, where all blocks tie. All in one batch.
TEST_F(AdapterServerTest, EdgeCasesInOneBatchAnswerAsEachAlone) {
  adapter_.query_tile = 16;
  adapter_.window_blocks = 1;
  Write("tiles");
  ServerConfig config = Config();
  config.model.adapters = {{"plain", Folder("trained")}, {"tiles", Folder("tiles")}};
  ASSERT_TRUE(Start(std::move(config)).ok());
  v1::GetModelResponse model;
  ASSERT_TRUE(client_->GetModel(Call().get(), {}, &model).ok());
  ASSERT_GT(model.tokenizer().eos_token_ids_size(), 0);
  const int eos = model.tokenizer().eos_token_ids(0);
  const int longest = std::min(model.limits().max_context_tokens() - 4, 4096);

  std::vector<v1::GenerateRequest> requests;
  for (const std::string adapter : {"", "plain", "tiles"}) {
    const auto add = [&](int tokens, auto token_at) {
      v1::GenerateRequest request;
      for (int i = 0; i < tokens; ++i) request.mutable_token_ids()->add_ids(token_at(i));
      request.mutable_stop()->set_max_tokens(4);
      request.mutable_stop()->set_ignore_eos(true);
      request.mutable_sampling()->set_temperature(0);
      request.set_logprobs(0);
      request.set_adapter(adapter);
      requests.push_back(request);
    };
    for (const int border : {16, 64, 128, 192, 256, 320}) {
      for (const int length : {border - 1, border, border + 1}) {
        add(length, [](int i) { return 10 + i % 37; });
      }
    }
    add(1, [](int) { return 11; });
    add(1, [eos](int) { return eos; });
    add(321, [eos](int) { return eos; });
    add(longest, [](int) { return 12; });
  }
  const auto run = [this](const v1::GenerateRequest& request) {
    v1::GenerateResponse response;
    const grpc::Status status = client_->GenerateOnce(Call().get(), request, &response);
    std::string answer = status.error_message();
    if (!status.ok()) return answer;
    for (const v1::PositionLogprobs& position : response.samples(0).logprobs()) {
      EXPECT_TRUE(std::isfinite(position.chosen().logprob()));
      answer += position.chosen().SerializeAsString();
    }
    return answer;
  };
  std::vector<std::string> alone;
  for (const v1::GenerateRequest& request : requests) {
    alone.push_back(run(request));
    EXPECT_GT(alone.back().size(), 4u);
  }
  std::vector<std::string> together(requests.size());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < requests.size(); ++i) {
    threads.emplace_back([&, i] { together[i] = run(requests[i]); });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT_EQ(together[i], alone[i]) << requests[i].token_ids().ids_size() << " tokens, adapter \""
                                     << requests[i].adapter() << "\"";
  }
}

TEST_F(AdapterServerTest, LoadsAndUnloadsWhileItServes) {
  const absl::Status started = Start(WithRoot());
  ASSERT_TRUE(started.ok()) << started;
  EXPECT_EQ(Generate("trained").error_code(), StatusCode::NOT_FOUND);
  const grpc::Status loaded = Load("trained");
  ASSERT_TRUE(loaded.ok()) << loaded.error_message();
  EXPECT_EQ(loaded_.adapter().name(), "trained");
  ASSERT_TRUE(Load("again", "trained").ok());
  EXPECT_EQ(List(), (std::vector<std::string>{"again", "trained"}));
  EXPECT_TRUE(Generate("trained").ok());
  EXPECT_TRUE(Generate("again").ok());
  EXPECT_EQ(Load("again", "trained").error_code(), StatusCode::ALREADY_EXISTS);
  ASSERT_TRUE(Unload("trained").ok());
  EXPECT_EQ(Unload("trained").error_code(), StatusCode::NOT_FOUND);
  EXPECT_EQ(Generate("trained").error_code(), StatusCode::NOT_FOUND);
  EXPECT_EQ(List(), std::vector<std::string>{"again"});
}

TEST_F(AdapterServerTest, RefusesWhatIsNoAdapterOfTheModel) {
  ASSERT_TRUE(Start(WithRoot()).ok());
  for (const std::string name : {"", "..", "../adapters/trained", "a b"}) {
    EXPECT_EQ(Load(name).error_code(), StatusCode::INVALID_ARGUMENT) << name;
    if (!name.empty()) {
      EXPECT_EQ(Load("x", name).error_code(), StatusCode::INVALID_ARGUMENT) << name;
    }
  }
  EXPECT_EQ(Load("none").error_code(), StatusCode::NOT_FOUND);
  // A link that leads out of the root.
  ASSERT_TRUE(WriteAdapter(RandomAdapter(adapter_, 1), root_ + "/outside", DType::kF32).ok());
  std::filesystem::create_directory_symlink(root_ + "/outside", Folder("link"));
  EXPECT_EQ(Load("link").error_code(), StatusCode::PERMISSION_DENIED);
  adapter_.base_digest = std::string(64, '0');
  adapter_.base_model = "something else";
  Write("other");
  const grpc::Status other = Load("other");
  EXPECT_EQ(other.error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(other.error_message(), AllOf(HasSubstr("something else"), HasSubstr("weights")));
  EXPECT_TRUE(List().empty());
}

TEST_F(AdapterServerTest, AWrongAdapterAtTheStartIsAnError) {
  ServerConfig config = Config();
  config.model.adapters = {{"a", Folder("none")}};
  EXPECT_THAT(std::string(Start(config).message()), HasSubstr("adapters/none"));
  adapter_.base_digest = std::string(64, '0');
  Write("other");
  config.model.adapters = {{"a", Folder("other")}};
  EXPECT_THAT(std::string(Start(config).message()), HasSubstr("weights"));
}

TEST_F(AdapterServerTest, WithKeysOnlyAdminsLoad) {
  const auto entry = [](const std::string& key, const std::string& more) {
    const Sha256 digest = Sha256Of(key);
    const std::string hex =
        absl::BytesToHexString({reinterpret_cast<const char*>(digest.data()), digest.size()});
    return absl::StrCat("{\"sha256\": \"", hex, "\", \"tenant\": \"t\"", more, "}");
  };
  ServerConfig config = WithRoot();
  config.api_keys = root_ + "/keys.json";
  ASSERT_TRUE(WriteFile(config.api_keys, absl::StrCat("{\"keys\": [", entry("user", ""), ", ",
                                                      entry("boss", ", \"admin\": true"), "]}"))
                  .ok());
  const absl::Status started = Start(std::move(config));
  ASSERT_TRUE(started.ok()) << started;
  EXPECT_EQ(Load("trained").error_code(), StatusCode::UNAUTHENTICATED);
  key_ = "user";
  EXPECT_EQ(Load("trained").error_code(), StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(Unload("trained").error_code(), StatusCode::PERMISSION_DENIED);
  key_ = "boss";
  ASSERT_TRUE(Load("trained").ok());
  key_ = "user";
  EXPECT_TRUE(Generate("trained").ok());
  EXPECT_EQ(List(), std::vector<std::string>{"trained"});
  EXPECT_EQ(Unload("trained").error_code(), StatusCode::PERMISSION_DENIED);
}

}  // namespace
}  // namespace sieve
