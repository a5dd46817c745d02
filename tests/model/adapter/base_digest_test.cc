#include "model/adapter/base_digest.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

#include "model/checkpoint/checkpoint.h"
#include "tests/model/checkpoint/test_files.h"
#include "tests/testdata/tiny_llama.h"

namespace sieve {
namespace {

std::string DigestOf(const std::string& path) {
  const auto checkpoint = OpenCheckpoint(path);
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
  return BaseDigest((*checkpoint)->config(), (*checkpoint)->weights());
}

TEST(BaseDigestTest, OneModelHasOneDigestHoweverItIsStored) {
  const std::string root = TestFolder();
  TinyLlamaSpec spec;
  ASSERT_TRUE(WriteTinyHfFolder(root + "/a", spec).ok());
  spec.context_length = 512;  // a user's choice
  spec.num_shards = 2;
  ASSERT_TRUE(WriteTinyHfFolder(root + "/another name", spec).ok());
  const std::string digest = DigestOf(root + "/a");
  EXPECT_EQ(digest.size(), 64u);
  EXPECT_EQ(digest.find_first_not_of("0123456789abcdef"), std::string::npos);
  EXPECT_EQ(DigestOf(root + "/another name"), digest);
}

TEST(BaseDigestTest, AnotherModelHasAnother) {
  const std::string root = TestFolder();
  std::vector<TinyLlamaSpec> specs(7);
  specs[1].seed = 2;
  specs[2].rope_theta = 500000;
  specs[3].tied = false;
  specs[4].dtype = DType::kBF16;
  specs[5].attention_bias = true;
  specs[6].num_layers = 3;
  std::set<std::string> digests;
  for (size_t i = 0; i < specs.size(); ++i) {
    const std::string dir = root + "/" + std::to_string(i);
    ASSERT_TRUE(WriteTinyHfFolder(dir, specs[i]).ok());
    digests.insert(DigestOf(dir));
  }
  EXPECT_EQ(digests.size(), specs.size());
}

// Small tensors are read whole, large ones from their first byte to their last.
TEST(BaseDigestTest, SeesChangedBytes) {
  ModelConfig config;
  config.tied_embeddings = true;
  std::vector<float> large(1 << 20), small(5000);
  LlamaWeights weights;
  weights.embedding = {large.data(), DType::kF32, 1024, 1024};
  weights.final_norm = {small.data(), DType::kF32, 1, 5000};
  const std::string digest = BaseDigest(config, weights);
  for (float* place :
       {&large.front(), &large.back(), &small.front(), &small[2500], &small.back()}) {
    *place = 1;
    EXPECT_NE(BaseDigest(config, weights), digest);
    *place = 0;
  }
  EXPECT_EQ(BaseDigest(config, weights), digest);
  // The same bytes as another shape.
  weights.embedding.rows = 512;
  weights.embedding.cols = 2048;
  EXPECT_NE(BaseDigest(config, weights), digest);
}

}  // namespace
}  // namespace sieve
