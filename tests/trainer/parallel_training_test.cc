// Training by several processes against training by one.

#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "model/adapter/adapter_file.h"
#include "model/tokenizer/tokenizer.h"
#include "tests/trainer/processes.h"
#include "tests/trainer/tiny_model.h"
#include "trainer/connect_ranks.h"
#include "trainer/train.h"

namespace sieve {
namespace {

// Documents of many lengths, so that some sequences are packs.
constexpr char kRun[] = R"({
  "adapter": {"window_blocks": 1, "selected_blocks": 2, "index_rank": 4},
  "corpus": [{"path": "lines.jsonl", "format": "gsm8k"}],
  "sequence_length": 300,
  "calibration_sequences": 2,
  "stages": [
    {"kind": "layers", "steps": 2, "sequences": $N, "selected_blocks": [0, 1, 2]},
    {"kind": "end_to_end", "steps": 2, "sequences": $N, "selected_blocks": [1],
     "task_weight": 0.5}
  ]
})";

std::string Content(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// Ends its process at the given sum.
class EndingRanks : public Ranks {
 public:
  EndingRanks(Ranks* ranks, int sums) : ranks_(ranks), sums_left_(sums) {}
  int rank() const override { return ranks_->rank(); }
  int size() const override { return ranks_->size(); }
  absl::Status Sum(const at::Tensor& tensor) override {
    if (sums_left_-- == 0) _exit(9);
    return ranks_->Sum(tensor);
  }
  absl::Status Share(const at::Tensor& tensor) override { return ranks_->Share(tensor); }
  absl::Status Meet() override { return ranks_->Meet(); }

 private:
  Ranks* const ranks_;
  int sums_left_;
};

struct Options {
  int sequences = 2;
  int stopped_rank = -1;  // which is told to stop
  int ending_rank = -1;   // which ends in a sum of its second step
  int other_rank = -1;    // which reads another run
};

class ParallelTrainingTest : public testing::Test {
 protected:
  ParallelTrainingTest() : folder_(testing::TempDir() + "/run") {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    std::mt19937_64 random(1);
    std::ofstream file(folder_ + "/lines.jsonl");
    for (int i = 0; i < 24; ++i) {
      std::string text(60 + random() % 400, ' ');
      for (char& c : text) c = static_cast<char>('a' + random() % 26);
      file << nlohmann::json({{"question", text}, {"answer", text.substr(0, 9)}}).dump() << "\n";
    }
  }

  std::string Train(const std::string& out, Ranks& ranks, const Options& options) const {
    // Ranks of one machine that all take all of its cores are in each other's way.
    at::set_num_threads(1);
    const auto checkpoint = OpenTinyModel({}, /*gguf=*/false);
    const auto tokenizer = *Tokenizer::Create(checkpoint->vocabulary());
    const FrozenLlama llama(checkpoint->config(), checkpoint->weights(),
                            at::TensorOptions(at::kFloat));
    std::string text = kRun;
    for (size_t at; (at = text.find("$N")) != std::string::npos;) {
      text.replace(at, 2, std::to_string(options.sequences));
    }
    if (options.other_rank == ranks.rank()) text.replace(text.find("300"), 3, "299");
    const std::string path = testing::TempDir() + "/run.json";
    std::ofstream(path) << text;
    const auto run = ReadRunConfig(path, folder_);
    if (!run.ok()) return run.status().ToString();
    const auto adapter = AdapterConfigFor(run->adapter, checkpoint->config(), std::string(64, 'a'));
    const auto corpus = TokeniseOnce(run->corpus, *tokenizer, folder_ + "/tokens");
    if (!corpus.ok()) return corpus.status().ToString();
    const std::atomic<bool> stop = options.stopped_rank == ranks.rank();
    EndingRanks ending(&ranks, 3);  // one before the first step, two in each
    return sieve::Train({.llama = &llama,
                         .adapter = *adapter,
                         .run = &*run,
                         .corpus = &*corpus,
                         .out = folder_ + "/" + out,
                         .stop = &stop,
                         .ranks = options.ending_rank == ranks.rank() ? &ending : &ranks})
        .ToString();
  }

  std::vector<std::string> TrainOn(int count, const std::string& out, const Options& options) {
    const int port = FreePort();
    return RunProcesses(count, [&](int rank) {
      const RankEnvironment environment = {.rank = rank,
                                           .ranks = count,
                                           .local_rank = rank,
                                           .address = "127.0.0.1",
                                           .port = port,
                                           .is_served = false,
                                           .attempt = ""};
      const auto ranks = ConnectRanks(environment, at::kCPU, absl::Seconds(120));
      return ranks.ok() ? Train(out, **ranks, options) : ranks.status().ToString();
    });
  }

  std::vector<nlohmann::json> Steps(const std::string& out) const {
    std::ifstream log(folder_ + "/" + out + "/log.jsonl");
    std::vector<nlohmann::json> steps;
    for (std::string line; std::getline(log, line);) steps.push_back(nlohmann::json::parse(line));
    return steps;
  }

  std::string Tensors(const std::string& out) const {
    return Content(folder_ + "/" + out + "/adapter/" + kAdapterTensorsFile);
  }

  const std::string folder_;
};

using Texts = std::vector<std::string>;

// The loss of a step and its terms, of which a stage has its own.
std::map<std::string, double> Losses(const nlohmann::json& step) {
  std::map<std::string, double> losses;
  for (const char* key : {"loss", "output", "selector", "kl", "task"}) {
    if (step.contains(key)) losses[key] = step.at(key).get<double>();
  }
  EXPECT_GE(losses.size(), 3);
  return losses;
}

// With a sequence each there is one order of sums.
TEST_F(ParallelTrainingTest, TwoRanksAreEqualToOneToTheLastBit) {
  ASSERT_EQ(TrainOn(1, "one", {}), Texts({"OK"}));
  ASSERT_EQ(TrainOn(2, "two", {}), Texts({"OK", "OK"}));
  const auto one = Steps("one"), two = Steps("two");
  ASSERT_EQ(one.size(), 4);
  ASSERT_EQ(two.size(), 4);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(Losses(two[i]), Losses(one[i])) << "step " << i;
    EXPECT_EQ(two[i].at("gradient_norm"), one[i].at("gradient_norm")) << "step " << i;
  }
  EXPECT_GT(one[3].at("task").get<double>(), 0);
  EXPECT_EQ(Tensors("two"), Tensors("one"));
}

TEST_F(ParallelTrainingTest, ThreeRanksHaveTheSameLosses) {
  const Options options = {.sequences = 5};  // unequal shares
  ASSERT_EQ(TrainOn(1, "one", options), Texts({"OK"}));
  ASSERT_EQ(TrainOn(3, "three", options), Texts(3, "OK"));
  const auto one = Steps("one"), three = Steps("three");
  ASSERT_EQ(three.size(), 4);
  for (size_t i = 0; i < 4; ++i) {
    const auto expected = Losses(one[i]), found = Losses(three[i]);
    ASSERT_EQ(found.size(), expected.size());
    for (const auto& [key, value] : expected) {
      EXPECT_NEAR(found.at(key), value, 1e-6 * value) << key << " in step " << i;
    }
  }
}

TEST_F(ParallelTrainingTest, OneThatIsStoppedStopsAllAndAnyNumberGoesOn) {
  ASSERT_EQ(TrainOn(1, "whole", {}), Texts({"OK"}));
  const Texts stopped = TrainOn(2, "parts", {.stopped_rank = 1});
  for (const std::string& text : stopped) {
    EXPECT_TRUE(absl::StrContains(text, "CANCELLED")) << text;
    EXPECT_TRUE(absl::StrContains(text, "stage 1, step 1")) << text;
  }
  EXPECT_EQ(Steps("parts").size(), 1);
  for (const std::string& text : TrainOn(2, "parts", {.stopped_rank = 0})) {
    EXPECT_TRUE(absl::StrContains(text, "stage 1, step 2")) << text;
  }
  ASSERT_EQ(TrainOn(1, "parts", {}), Texts({"OK"}));
  EXPECT_EQ(Tensors("parts"), Tensors("whole"));
}

TEST_F(ParallelTrainingTest, OneWithAnotherRunIsRefusedByAll) {
  const Texts texts = TrainOn(3, "out", {.sequences = 3, .other_rank = 1});
  for (const std::string& text : texts) {
    EXPECT_TRUE(absl::StrContains(text, "FAILED_PRECONDITION: 1 of 3 ranks")) << text;
    EXPECT_EQ(absl::StrContains(text, "this one"), &text == &texts[1]) << text;
  }
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/out"));
}

TEST_F(ParallelTrainingTest, OneThatEndsEndsTheOthers) {
  const Texts texts = TrainOn(2, "out", {.ending_rank = 1});
  EXPECT_EQ(texts[1], "(ended)");
  EXPECT_TRUE(absl::StrContains(texts[0], "UNAVAILABLE")) << texts[0];
  for (const char* part : {"stage 1, step 1", "rank 0 of 2", "out/state"}) {
    EXPECT_TRUE(absl::StrContains(texts[0], part)) << texts[0];
  }
  // What was saved goes on.
  EXPECT_EQ(TrainOn(1, "out", {}), Texts({"OK"}));
}

}  // namespace
}  // namespace sieve
