#include "trainer/run_config.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "absl/strings/match.h"

namespace sieve {
namespace {

absl::StatusOr<RunConfig> Read(const std::string& text) {
  const std::string path = testing::TempDir() + "/run.json";
  std::ofstream(path) << text;
  return ReadRunConfig(path, "/data");
}

TEST(RunConfig, TheCommittedOneIsRead) {
  const auto run = ReadRunConfig("trainer/configs/smollm2.json", "/data");
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(run->sequence_length, 8192);
  ASSERT_EQ(run->stages.size(), 2);
  EXPECT_FALSE(run->stages[0].end_to_end);
  EXPECT_TRUE(run->stages[1].end_to_end);
  EXPECT_EQ(run->corpus[0].path, "/data/wikitext2/wiki.train.tokens.gz");
}

TEST(RunConfig, TheOthersAreReadToo) {
  for (const char* name : {"gsm8k", "chat"}) {
    const auto run = ReadRunConfig(std::string("trainer/configs/") + name + ".json", "/data");
    ASSERT_TRUE(run.ok()) << run.status();
    EXPECT_GT(run->stages[1].task_weight, 0) << name;
  }
}

TEST(RunConfig, WhatIsWrongIsNamed) {
  const struct {
    const char* text;
    const char* part;
  } cases[] = {
      {R"({"corpus": [{"path": "a"}], "sequence_lenght": 5})", "sequence_lenght"},
      {R"({})", "corpus"},
      {R"({"corpus": [{"fields": ["a"]}]})", "path"},
      {R"({"corpus": [{"path": "a", "format": "xml"}]})", "format"},
      {R"({"corpus": [{"path": "a", "format": "lines"}]})", "fields"},
      {R"({"corpus": [{"path": "a", "format": "gsm8k", "fields": ["a"]}]})", "fields"},
      {R"({"corpus": [{"path": "a", "format": "chat", "fields": ["a"]}]})", "fields"},
      {R"({"corpus": [{"path": "a", "join": 0}]})", "join"},
      {R"({"corpus": [{"path": "a", "documents": 5}]})", "documents"},
      {R"({"corpus": [{"path": "a", "make": "songs"}]})", "make"},
      {R"({"corpus": [{"path": "a", "make": "retrieval"}]})", "documents"},
      {R"({"corpus": [{"path": "a", "make": "retrieval", "documents": 1, "facts": [0]}]})",
       "facts"},
      {R"({"corpus": [{"path": "a", "make": "retrieval", "documents": 1, "tokens": 0}]})",
       "tokens"},
      {R"({"corpus": [{"path": "a", "format": "chat", "make": "retrieval", "documents": 1}]})",
       "format"},
      {R"({"corpus": [{"path": "a"}], "query_chunk": 100})", "query_chunk"},
      {R"({"corpus": [{"path": "a"}], "shortest_document": 1})", "shortest_document"},
      {R"({"corpus": [{"path": "a"}], "adapter": 1})", "adapter"},
      {R"({"corpus": [{"path": "a"}], "stages": [{"kind": "both"}]})", "kind"},
      {R"({"corpus": [{"path": "a"}], "stages": [{"kind": "layers", "task_weight": 1}]})",
       "task_weight"},
      {R"({"corpus": [{"path": "a"}], "stages": [{"kind": "end_to_end", "task_weight": -1}]})",
       "task_weight"},
      {R"({"corpus": [{"path": "a"}], "stages": [{"kind": "layers", "steps": -1}]})", "steps"},
      {R"({"corpus": [{"path": "a"}], "stages": [{"kind": "layers", "selected_blocks": []}]})",
       "selected_blocks"},
      {R"({"corpus": [{"path": "a"}], "stages": [{"kind": "layers", "sequences": 3,
           "sequences_at_once": 2}]})",
       "sequences"},
  };
  for (const auto& c : cases) {
    const auto run = Read(c.text);
    ASSERT_EQ(run.status().code(), absl::StatusCode::kInvalidArgument) << c.text;
    EXPECT_TRUE(absl::StrContains(run.status().message(), c.part)) << run.status();
  }
}

TEST(RunConfig, SourcesOfEveryKind) {
  const auto run = Read(R"({"sequence_length": 512, "corpus": [
      {"path": "a"},
      {"path": "b", "fields": ["text"]},
      {"path": "c", "format": "gsm8k", "join": 8},
      {"path": "d", "format": "chat"},
      {"path": "b", "fields": ["text"], "make": "retrieval", "documents": 3, "facts": [5],
       "seed": 9},
      {"path": "b", "make": "retrieval", "documents": 3, "tokens": 99}]})");
  ASSERT_TRUE(run.ok()) << run.status();
  ASSERT_EQ(run->corpus.size(), 6);
  EXPECT_EQ(run->corpus[0].format, TextFormat::kText);
  EXPECT_EQ(run->corpus[1].format, TextFormat::kLines);
  EXPECT_EQ(run->corpus[2].format, TextFormat::kGsm8k);
  EXPECT_EQ(run->corpus[2].join, 8);
  EXPECT_EQ(run->corpus[3].format, TextFormat::kChat);
  EXPECT_EQ(run->corpus[3].fields.back(), "response");
  EXPECT_EQ(run->corpus[3].retrieval.documents, 0);
  const RetrievalOptions& made = run->corpus[4].retrieval;
  EXPECT_EQ(made.documents, 3);
  EXPECT_EQ(made.tokens, 512);
  EXPECT_EQ(made.facts, std::vector<int64_t>({5}));
  EXPECT_EQ(made.seed, 9);
  EXPECT_EQ(run->corpus[5].retrieval.tokens, 99);
}

TEST(RunConfig, TheAdapterHasTheModelsShape) {
  ModelConfig model;
  model.name = "m";
  model.num_layers = 2;
  model.hidden_size = 64;
  model.num_heads = 4;
  model.num_kv_heads = 2;
  model.head_dim = 16;
  const std::string digest(64, 'a');
  const auto config = AdapterConfigFor({{"index_rank", 8}}, model, digest);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->index_rank, 8);
  EXPECT_EQ(config->head_dim, 16);
  EXPECT_FALSE(AdapterConfigFor({{"index_rang", 8}}, model, digest).ok());
  EXPECT_FALSE(AdapterConfigFor({{"query_tile", 5}}, model, digest).ok());
}

}  // namespace
}  // namespace sieve
