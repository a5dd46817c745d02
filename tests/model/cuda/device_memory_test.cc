// What a model says of its memory against what the driver does: alone on the device, whose free
// memory is everyone's.

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <iostream>
#include <memory>
#include <numeric>
#include <vector>

#include "absl/types/span.h"
#include "model/cache/geometry.h"
#include "model/checkpoint/random_checkpoint.h"
#include "model/cuda/cuda_transformer.h"

namespace sieve {
namespace {

using TokenIds = std::vector<int32_t>;

constexpr int64_t kPages = 4096;  // 8 GiB
constexpr int64_t kMostSequences = 128;
constexpr int64_t kContext = 4096;

int64_t FreeBytes() {
  size_t free = 0, total = 0;
  EXPECT_EQ(cudaMemGetInfo(&free, &total), cudaSuccess);
  return static_cast<int64_t>(free);
}

// A step of `sequences` sequences whose tokens are at `position` and the `count` - 1 before.
absl::Status Step(Transformer* model, int64_t sequences, int64_t position, int64_t count) {
  constexpr int64_t kStride = kContext / kPageTokens;
  TokenIds tokens(sequences * count, 17), positions, offsets = {0}, rows, tables;
  for (int64_t s = 0; s < sequences; ++s) {
    for (int64_t i = 0; i < count; ++i) {
      positions.push_back(static_cast<int32_t>(position - count + 1 + i));
    }
    offsets.push_back(static_cast<int32_t>(positions.size()));
    rows.push_back(offsets.back() - 1);
    for (int64_t page = 0; page < kStride; ++page) {
      tables.push_back(static_cast<int32_t>((s * kStride + page) % kPages));
    }
  }
  std::vector<float> logits(rows.size() * model->vocabulary_size());
  return model->Forward({.tokens = tokens,
                         .positions = positions,
                         .offsets = offsets,
                         .block_tables = tables,
                         .block_table_stride = kStride,
                         .logit_rows = rows},
                        absl::MakeSpan(logits));
}

TEST(DeviceMemoryTest, AccountsAreTheDriversWithinAHundredth) {
  auto checkpoint = OpenRandomCheckpoint("bench/models/llama_3.2_1b.json", {});
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  ASSERT_EQ(cudaFree(nullptr), cudaSuccess);  // the context, which is the driver's own
  const int64_t before = FreeBytes();
  auto model = CreateCudaTransformer((*checkpoint)->config(), (*checkpoint)->weights(),
                                     {.dtype = DType::kBF16,
                                      .cache_pages = kPages,
                                      .max_step_tokens = 2048,
                                      .max_sequences = kMostSequences,
                                      .max_context_tokens = kContext});
  ASSERT_TRUE(model.ok()) << model.status();
  const int64_t created = before - FreeBytes();
  ASSERT_TRUE(Step(model->get(), 1, 2047, 2048).ok());
  ASSERT_TRUE(Step(model->get(), 3, 500, 100).ok());
  for (int64_t sequences = 1; sequences <= kMostSequences; sequences += 1 + sequences / 8) {
    for (const int64_t position : {10, 4000}) {
      ASSERT_TRUE(Step(model->get(), sequences, position, 1).ok());
    }
  }
  const int64_t used = before - FreeBytes();
  const MemoryUse memory = (*model)->memory();
  const int64_t accounted = memory.weights + memory.cache + memory.workspace;
  std::cout << "weights " << memory.weights << ", cache " << memory.cache << ", workspace "
            << memory.workspace << ", together " << accounted << "; the driver's, created "
            << created << ", after many graphs " << used << std::endl;
  EXPECT_NEAR(created, accounted, 0.01 * accounted);
  EXPECT_NEAR(used, accounted, 0.01 * accounted);
}

TEST(DeviceMemoryTest, ACacheOfAllThatIsFreeLeavesAdaptersAQuarterAtTheMost) {
  auto checkpoint = OpenRandomCheckpoint("bench/models/llama_3.2_1b.json", {});
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const auto pages = [&](int64_t adapter_bytes) -> double {
    auto model = CreateCudaTransformer((*checkpoint)->config(), (*checkpoint)->weights(),
                                       {.dtype = DType::kBF16,
                                        .max_step_tokens = 128,
                                        .max_sequences = 8,
                                        .max_context_tokens = kContext,
                                        .adapter_bytes = adapter_bytes});
    EXPECT_TRUE(model.ok()) << model.status();
    return model.ok() ? static_cast<double>((*model)->num_pages()) : 0;
  };
  const double all = pages(0);
  EXPECT_LT(pages(int64_t{1} << 30), all);
  EXPECT_NEAR(pages(int64_t{1} << 50) / all, 0.75, 0.01);
}

}  // namespace
}  // namespace sieve
