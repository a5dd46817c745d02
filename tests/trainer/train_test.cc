#include "trainer/train.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "model/adapter/adapter_file.h"
#include "model/tokenizer/tokenizer.h"
#include "tests/trainer/tiny_model.h"

namespace sieve {
namespace {

constexpr char kRun[] = R"({
  "adapter": {"window_blocks": 1, "selected_blocks": 2, "index_rank": 4},
  "corpus": [{"path": "text.txt"}],
  "sequence_length": 330,
  "calibration_sequences": 2,
  "stages": [
    {"kind": "layers", "steps": 3, "sequences": 2, "selected_blocks": [0, 1, 2]},
    {"kind": "end_to_end", "steps": 2, "sequences": 2, "sequences_at_once": 2,
     "selected_blocks": [1], "selector_weight": 0, "trained": ["compress.", "combine."]}
  ]
})";

std::string Content(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

class TrainTest : public testing::Test {
 protected:
  TrainTest()
      : checkpoint_(OpenTinyModel({}, /*gguf=*/false)),
        tokenizer_(*Tokenizer::Create(checkpoint_->vocabulary())),
        llama_(checkpoint_->config(), checkpoint_->weights(), at::TensorOptions(at::kFloat)),
        folder_(testing::TempDir() + "/run") {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    std::ofstream(folder_ + "/text.txt") << SeededLetters(5000, 1);
    Read(kRun);
  }

  void Read(const std::string& run) {
    std::ofstream(folder_ + "/run.json") << run;
    auto read = ReadRunConfig(folder_ + "/run.json", folder_);
    ASSERT_TRUE(read.ok()) << read.status();
    run_ = *std::move(read);
    auto adapter = AdapterConfigFor(run_.adapter, checkpoint_->config(), std::string(64, 'a'));
    ASSERT_TRUE(adapter.ok()) << adapter.status();
    adapter_ = *std::move(adapter);
  }

  absl::Status TrainTo(const std::string& out, const std::atomic<bool>* stop = nullptr) {
    auto corpus = TokeniseOnce(run_.corpus, *tokenizer_, folder_ + "/tokens");
    EXPECT_TRUE(corpus.ok()) << corpus.status();
    return Train({.llama = &llama_,
                  .adapter = adapter_,
                  .run = &run_,
                  .corpus = &*corpus,
                  .out = folder_ + "/" + out,
                  .progress = &progress_,
                  .stop = stop});
  }

  std::vector<nlohmann::json> Steps(const std::string& out) const {
    std::ifstream log(folder_ + "/" + out + "/log.jsonl");
    std::vector<nlohmann::json> steps;
    for (std::string line; std::getline(log, line);) steps.push_back(nlohmann::json::parse(line));
    return steps;
  }

  void WriteQuestions() const {
    std::ofstream file(folder_ + "/qa.jsonl");
    for (int i = 0; i < 40; ++i) {
      file << "{\"question\": \"" << std::string(20 + 7 * i, static_cast<char>('a' + i % 26))
           << "\", \"answer\": \"" << std::string(5 + i, 'z') << "\"}\n";
    }
  }

  std::string Tensors(const std::string& out) const {
    return Content(folder_ + "/" + out + "/adapter/" + kAdapterTensorsFile);
  }

  std::unique_ptr<Checkpoint> checkpoint_;
  std::unique_ptr<Tokenizer> tokenizer_;
  FrozenLlama llama_;
  const std::string folder_;
  RunConfig run_;
  AdapterConfig adapter_;
  std::ostringstream progress_;
};

TEST_F(TrainTest, ARunThatStopsAfterEachStepIsEqualToTheLastBit) {
  ASSERT_TRUE(TrainTo("whole").ok());
  const std::atomic<bool> stop = true;
  int calls = 1;
  absl::Status status = TrainTo("parts", &stop);
  for (; absl::IsCancelled(status) && calls < 10; ++calls) status = TrainTo("parts", &stop);
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(calls, 6);  // five of a step each, and one that finds nothing left
  EXPECT_EQ(Tensors("whole"), Tensors("parts"));
  EXPECT_EQ(Content(folder_ + "/whole/state/tensors.safetensors"),
            Content(folder_ + "/parts/state/tensors.safetensors"));
  EXPECT_TRUE(absl::StrContains(progress_.str(), "stage 2, step 2 of 2"));
}

TEST_F(TrainTest, ItWritesAnAdapterThatOpens) {
  ASSERT_TRUE(TrainTo("out").ok());
  const absl::StatusOr<Adapter> adapter = OpenAdapter(folder_ + "/out/adapter");
  ASSERT_TRUE(adapter.ok()) << adapter.status();
  EXPECT_EQ(adapter->config.selected_blocks, 2);
  EXPECT_EQ(Steps("out").size(), 5);
}

TEST_F(TrainTest, TheBranchesAreProbed) {
  std::string run = kRun;
  run.replace(run.find("\"calibration_sequences\": 2"), 26,
              "\"calibration_sequences\": 2, \"probe_steps\": 2");
  Read(run);
  ASSERT_TRUE(TrainTo("probed").ok());
  std::ifstream log(folder_ + "/probed/log.jsonl");
  std::vector<bool> probed;
  for (std::string line; std::getline(log, line);) {
    const auto step = nlohmann::json::parse(line);
    probed.push_back(step.contains("branches"));
    if (!probed.back()) continue;
    for (int layer = 0; layer < 2; ++layer) {
      double sum = 0;
      for (const char* branch : {"base", "selected", "compressed"}) {
        EXPECT_GT(step["branches"][branch][layer], 0);
        sum += step["branches"][branch][layer].get<double>();
      }
      EXPECT_NEAR(sum, 1, 1e-5);
    }
    EXPECT_GT(step["vector_rate"], step["matrix_rate"]);
    EXPECT_EQ(step.contains("output"), step["stage"] == 1);
    EXPECT_EQ(step.contains("kl"), step["stage"] == 2);
  }
  // Every second step, and the last of each stage.
  EXPECT_EQ(probed, std::vector<bool>({false, true, true, false, true}));
  const auto probe = nlohmann::json::parse(Content(folder_ + "/probed/probe.json"));
  EXPECT_EQ(probe["blocks"], 5);
  ASSERT_EQ(probe["chosen"].size(), 2);     // layers
  ASSERT_EQ(probe["chosen"][0].size(), 2);  // key/value heads
  ASSERT_EQ(probe["chosen"][0][0].size(), 25);
  // The fourth block's queries have one block to choose, the one after the sink.
  EXPECT_EQ(probe["chosen"][0][0][3 * 5 + 1], 100);
  EXPECT_EQ(probe["chosen"][0][0][3 * 5 + 2], 0);
}

TEST_F(TrainTest, TrainingLowersTheLoss) {
  std::string run = kRun;
  run.replace(run.find("\"steps\": 3"), 10, "\"steps\": 30");
  run.replace(run.find("[0, 1, 2]"), 9, "[1]");
  Read(run);
  ASSERT_TRUE(TrainTo("long").ok());
  std::vector<double> losses;
  for (const nlohmann::json& step : Steps("long")) losses.push_back(step["loss"].get<double>());
  double first = 0, last = 0;
  for (int i = 0; i < 5; ++i) {
    first += losses[i];
    last += losses[25 + i];
  }
  EXPECT_LT(last, 0.97 * first);
}

TEST_F(TrainTest, AnotherConfigurationDoesNotGoOn) {
  ASSERT_TRUE(TrainTo("out").ok());
  std::string run = kRun;
  run.replace(run.find("330"), 3, "331");
  Read(run);
  EXPECT_EQ(TrainTo("out").code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(TrainTest, AFullDiskLeavesTheOldStateToGoOnFrom) {
  ASSERT_TRUE(TrainTo("whole").ok());
  const std::atomic<bool> stop = true;
  ASSERT_TRUE(absl::IsCancelled(TrainTo("out", &stop)));
  const std::string state = Content(folder_ + "/out/state/tensors.safetensors");
  const std::string tensors = Tensors("out");
  ASSERT_GT(state.size(), 8192u);
  // The system's limit on a file's size fails writes as a full disk does, without its signal.
  signal(SIGXFSZ, SIG_IGN);
  rlimit before = {};
  getrlimit(RLIMIT_FSIZE, &before);
  for (const rlim_t size : {rlim_t{4096}, rlim_t{state.size() - 1}}) {
    const rlimit limit = {size, before.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
    const absl::Status status = TrainTo("out", &stop);
    setrlimit(RLIMIT_FSIZE, &before);
    EXPECT_FALSE(status.ok() || absl::IsCancelled(status)) << status;
    EXPECT_TRUE(absl::StrContains(status.message(), "writing failed")) << status;
    EXPECT_EQ(Content(folder_ + "/out/state/tensors.safetensors"), state);
    EXPECT_EQ(Tensors("out"), tensors);
    EXPECT_TRUE(OpenAdapter(folder_ + "/out/adapter").ok());
    for (const auto& entry : std::filesystem::directory_iterator(folder_ + "/out")) {
      EXPECT_FALSE(absl::StrContains(entry.path().string(), "partial")) << entry.path();
    }
  }
  ASSERT_TRUE(TrainTo("out").ok());
  EXPECT_EQ(Tensors("out"), Tensors("whole"));
}

TEST_F(TrainTest, ADivergingRunSaysWhere) {
  std::string run = kRun;
  run.replace(run.find("\"steps\": 3"), 10, "\"steps\": 9, \"vector_rate\": 1e30");
  Read(run);
  const absl::Status status = TrainTo("out");
  EXPECT_EQ(status.code(), absl::StatusCode::kAborted) << status;
  for (const char* part : {"not finite", "stage", "step", "sequences at tokens", "out/state"}) {
    EXPECT_TRUE(absl::StrContains(status.message(), part)) << status;
  }
  // What was saved before is whole.
  EXPECT_TRUE(OpenAdapter(folder_ + "/out/adapter").ok());
}

// One sequence of an epoch has an answer, whose loss is thousands of times the others'.
TEST_F(TrainTest, AnswersInSomeStepsAreNoDivergence) {
  std::ofstream(folder_ + "/qa.jsonl")
      << "{\"question\": \"" << std::string(300, 'q') << "\", \"answer\": \"zzz\"}\n";
  Read(R"({
    "adapter": {"window_blocks": 1, "selected_blocks": 2, "index_rank": 4},
    "corpus": [{"path": "qa.jsonl", "format": "gsm8k"}, {"path": "text.txt"}],
    "sequence_length": 330,
    "calibration_sequences": 2,
    "stages": [{"kind": "end_to_end", "steps": 34, "sequences": 1, "selected_blocks": [1],
                "selector_weight": 0, "task_weight": 1000, "vector_rate": 0, "matrix_rate": 0}]
  })");
  EXPECT_TRUE(TrainTo("out").ok());
  int with_answers = 0;
  const std::vector<nlohmann::json> steps = Steps("out");
  for (size_t i = 10; i < steps.size(); ++i) with_answers += steps[i]["task"].get<double>() > 0;
  EXPECT_GT(with_answers, 0);
}

TEST_F(TrainTest, ACorpusOfShortDocumentsIsRefused) {
  run_.sequence_length = run_.shortest_document = 6000;
  EXPECT_EQ(TrainTo("out").code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(TrainTest, CalibrationNeedsAWholeBlock) {
  std::ofstream(folder_ + "/text.txt") << std::string(60, 'a');
  const absl::Status status = TrainTo("out");
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(absl::StrContains(status.message(), "64")) << status;
}

// Questions and answers of several lengths: packed, padded, and their answers trained on.
TEST_F(TrainTest, ShortDocumentsAreTrainedOnWithTheirAnswers) {
  WriteQuestions();
  Read(R"({
    "adapter": {"window_blocks": 1, "selected_blocks": 2, "index_rank": 4},
    "corpus": [{"path": "qa.jsonl", "format": "gsm8k"}, {"path": "text.txt"}],
    "sequence_length": 330,
    "calibration_sequences": 4,
    "stages": [
      {"kind": "layers", "steps": 1, "sequences": 8, "sequences_at_once": 4},
      {"kind": "end_to_end", "steps": 2, "sequences": 8, "sequences_at_once": 4,
       "selected_blocks": [1], "task_weight": 0.5}
    ]
  })");
  ASSERT_TRUE(TrainTo("qa").ok());
  const std::vector<nlohmann::json> steps = Steps("qa");
  ASSERT_EQ(steps.size(), 3);
  EXPECT_FALSE(steps[0].contains("task"));
  for (const size_t i : {1, 2}) {
    const double task = steps[i]["task"];
    EXPECT_GT(task, 0);
    EXPECT_NEAR(steps[i]["loss"].get<double>(),
                steps[i]["kl"].get<double>() + steps[i]["selector"].get<double>() + 0.5 * task,
                1e-6);
  }
}

// Means are over a step's tokens, answers and queries with candidates, however many sequences are
// in memory at a time.
TEST_F(TrainTest, HowAStepIsDividedDoesNotMatter) {
  WriteQuestions();
  const std::string run = R"({
    "adapter": {"window_blocks": 1, "selected_blocks": 2, "index_rank": 4},
    "corpus": [{"path": "qa.jsonl", "format": "gsm8k"}, {"path": "text.txt"}],
    "sequence_length": 330,
    "calibration_sequences": 4,
    "stages": [{"kind": "end_to_end", "steps": 1, "sequences": 12, "sequences_at_once": $N,
                "selected_blocks": [1], "selector_weight": 2, "task_weight": 0.5}]
  })";
  std::vector<nlohmann::json> steps;
  for (const char* at_once : {"1", "12"}) {
    std::string text = run;
    Read(text.replace(text.find("$N"), 2, at_once));
    ASSERT_TRUE(TrainTo(at_once).ok());
    steps.push_back(Steps(at_once).at(0));
  }
  for (const char* key : {"loss", "kl", "selector", "task", "gradient_norm"}) {
    const double expected = steps[0][key];
    EXPECT_GT(expected, 0) << key;
    EXPECT_NEAR(steps[1][key].get<double>(), expected, 1e-4 * expected) << key;
  }
}

}  // namespace
}  // namespace sieve
