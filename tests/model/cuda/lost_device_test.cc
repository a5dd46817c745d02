// After a fault on the device: alone in its process, for nothing there works afterwards.

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/cuda/pending_tokens.h"
#include "model/checkpoint/checkpoint.h"
#include "model/cuda/cuda_transformer.h"
#include "model/step_runner.h"
#include "tests/testdata/tiny_llama.h"

namespace sieve {
namespace {

absl::Status Submit(StepRunner* runner, int32_t position) {
  const std::vector<int32_t> tokens = {3}, positions = {position}, offsets = {0, 1}, pages = {0},
                             rows = {0};
  SamplingParams params;
  Draw draw;
  draw.params = &params;
  return runner->Submit({.copies = {},
                         .batch = {.tokens = tokens,
                                   .positions = positions,
                                   .offsets = offsets,
                                   .block_tables = pages,
                                   .block_table_stride = 1,
                                   .logit_rows = rows},
                         .draws = {&draw, 1}});
}

TEST(LostDeviceTest, IsToldOfStepsInFlightAndForEver) {
  const std::string path = testing::TempDir() + "/lost_device_model";
  TinyLlamaSpec spec;
  spec.hidden_size = 192;
  spec.num_heads = 3;
  spec.num_kv_heads = 1;
  spec.head_dim = 64;
  ASSERT_TRUE(WriteTinyHfFolder(path, spec).ok());
  auto checkpoint = OpenCheckpoint(path);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  auto model = CreateCudaTransformer((*checkpoint)->config(), (*checkpoint)->weights(),
                                     {.dtype = DType::kBF16,
                                      .cache_pages = 4,
                                      .max_step_tokens = 8,
                                      .max_sequences = 8,
                                      .max_context_tokens = 64});
  ASSERT_TRUE(model.ok()) << model.status();
  StepRunner* const runner = (*model)->step_runner();
  ASSERT_TRUE(Submit(runner, 0).ok());
  ASSERT_TRUE(runner->Collect().ok());
  EXPECT_TRUE(runner->Broken().ok());

  // An address that is nobody's.
  int32_t* const nowhere = reinterpret_cast<int32_t*>(uint64_t{1} << 20);
  cudaStream_t stream = nullptr;
  ASSERT_EQ(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
  ASSERT_EQ(cuda::FillPendingTokens({.tokens = nowhere, .drawn = nowhere, .num_tokens = 1}, stream),
            cudaSuccess);
  absl::Status status = Submit(runner, 1);
  if (status.ok()) status = runner->Collect().status();
  if (status.ok()) {  // the fault came after the step
    cudaStreamSynchronize(stream);
    status = Submit(runner, 2);
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal) << status;
  EXPECT_FALSE(runner->Broken().ok());
  EXPECT_EQ(runner->in_flight(), 0);
  EXPECT_FALSE(Submit(runner, 3).ok());
  EXPECT_EQ(runner->in_flight(), 0);
  std::cout << status << "; " << runner->Broken() << std::endl;
}

}  // namespace
}  // namespace sieve
