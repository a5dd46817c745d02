#include "model/cuda/cuda_transformer.h"

#include <cuda_runtime_api.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <numeric>
#include <vector>

#include "absl/strings/match.h"
#include "kernels/cuda/hopper_plan.h"
#include "model/cache/geometry.h"
#include "model/checkpoint/checkpoint.h"
#include "tests/model/cuda/step_kernel_llama.h"
#include "tests/testdata/tiny_llama.h"

namespace sieve {
namespace {

using TokenIds = std::vector<int32_t>;

constexpr int64_t kTablePages = 40;

TinyLlamaSpec Spec() {
  TinyLlamaSpec spec = StepKernelLlama();
  spec.attention_bias = true;
  return spec;
}

// A part of a sequence in a step.
struct Piece {
  const TokenIds* sequence;
  TokenIds pages;
  int64_t begin, count;
};

// Whose logits a step is asked for: of each piece's tokens.
enum class Wanted { kAll, kLast, kNone };

class CudaTransformerTest : public testing::Test {
 protected:
  void Open(const TinyLlamaSpec& spec, const CudaTransformerOptions& options) {
    const std::string path = testing::TempDir() + "/model";
    ASSERT_TRUE(WriteTinyHfFolder(path, spec).ok());
    auto checkpoint = OpenCheckpoint(path);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    checkpoint_ = *std::move(checkpoint);
    created_ = CreateCudaTransformer(checkpoint_->config(), checkpoint_->weights(), options);
    if (created_.ok()) model_ = created_->get();
  }
  static CudaTransformerOptions Options(DType dtype) {
    return {.dtype = dtype,
            .cache_pages = 32,
            .max_step_tokens = 600,
            .max_sequences = 400,
            .max_context_tokens = 512};
  }

  std::vector<float> Step(const std::vector<Piece>& pieces, Wanted wanted = Wanted::kAll) {
    TokenIds tokens, positions, offsets = {0}, tables, rows;
    for (const Piece& p : pieces) {
      for (int64_t i = p.begin; i < p.begin + p.count; ++i) {
        if (wanted == Wanted::kAll || (wanted == Wanted::kLast && i + 1 == p.begin + p.count)) {
          rows.push_back(static_cast<int32_t>(tokens.size()));
        }
        tokens.push_back((*p.sequence)[i]);
        positions.push_back(static_cast<int32_t>(i));
      }
      offsets.push_back(static_cast<int32_t>(tokens.size()));
      TokenIds table = p.pages;
      table.resize(kTablePages, -1);
      tables.insert(tables.end(), table.begin(), table.end());
    }
    std::vector<float> logits(rows.size() * model_->vocabulary_size(), std::nanf(""));
    const absl::Status status = model_->Forward({.tokens = tokens,
                                                 .positions = positions,
                                                 .offsets = offsets,
                                                 .block_tables = tables,
                                                 .block_table_stride = kTablePages,
                                                 .logit_rows = rows},
                                                absl::MakeSpan(logits));
    EXPECT_TRUE(status.ok()) << status;
    return logits;
  }

  // A whole sequence in steps of `count` tokens, each beside what `others` says.
  std::vector<float> InSteps(const TokenIds& sequence, const TokenIds& pages, int64_t count,
                             const std::vector<Piece>& others = {}) {
    std::vector<float> all;
    for (int64_t begin = 0; begin < sequence.size(); begin += count) {
      const int64_t n = std::min<int64_t>(count, sequence.size() - begin);
      std::vector<Piece> pieces = {{&sequence, pages, begin, n}};
      pieces.insert(pieces.end(), others.begin(), others.end());
      const std::vector<float> logits = Step(pieces);
      all.insert(all.end(), logits.begin(), logits.begin() + n * model_->vocabulary_size());
    }
    return all;
  }

  static TokenIds Sequence(int64_t length, int32_t seed) {
    TokenIds tokens(length);
    for (int64_t i = 0; i < length; ++i) tokens[i] = (i * 37 + seed * 101 + i * i) % kTinyTokens;
    return tokens;
  }
  static bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * 4) == 0;
  }

  std::unique_ptr<Checkpoint> checkpoint_;
  absl::StatusOr<std::unique_ptr<Transformer>> created_ = absl::UnknownError("not opened");
  Transformer* model_ = nullptr;
};

// With 448, decoding steps of one or two sequences are one kernel on Hopper; with 416 they cannot
// be.
TEST_F(CudaTransformerTest, BitsDoNotDependOnChunksNorOnTheBatch) {
  const TokenIds sequence = Sequence(300, 1), other = Sequence(200, 2);
  for (const auto& [dtype, intermediate] :
       {std::pair(DType::kBF16, 448), std::pair(DType::kF16, 448), std::pair(DType::kBF16, 416),
        std::pair(DType::kF32, 448)}) {
    SCOPED_TRACE(InfoOf(dtype).name);
    TinyLlamaSpec spec = Spec();
    spec.intermediate_size = intermediate;
    Open(spec, Options(dtype));
    ASSERT_TRUE(created_.ok()) << created_.status();
    const std::vector<float> whole = InSteps(sequence, {4, 7, 1, 0, 9}, 300);
    for (const float logit : whole) ASSERT_TRUE(std::isfinite(logit));
    // One token a step: graphs replayed.
    EXPECT_TRUE(SameBits(whole, InSteps(sequence, {9, 3, 2, 8, 6}, 1)));
    EXPECT_TRUE(SameBits(whole, InSteps(sequence, {9, 3, 2, 8, 6}, 7)));
    EXPECT_TRUE(SameBits(whole, InSteps(sequence, {0, 1, 2, 3, 4}, 64)));
    const std::vector<Piece> others = {{&other, {10, 11, 12, 13}, 0, 190},
                                       {&other, {10, 11, 12, 13}, 190, 1}};
    EXPECT_TRUE(SameBits(whole, InSteps(sequence, {0, 1, 2, 3, 4}, 100, others)));
    std::vector<Piece> decoding;
    for (int32_t page = 10; page < 23; ++page) {
      decoding.push_back({&other, {page}, 0, 1});
      if (page > 17 && page < 22) continue;  // of 2 to 9, and of 14 sequences
      EXPECT_TRUE(SameBits(whole, InSteps(sequence, {0, 1, 2, 3, 4}, 1, decoding)));
    }
  }
}

// Steps of so many tokens have kernels of their own: heads rotated and cached by the product that
// makes them, and tiles that the copy engine stores.
TEST_F(CudaTransformerTest, LargeStepsHaveTheBitsOfSmallOnes) {
  constexpr int64_t kTokens = 1300, kPages = (kTokens + kPageTokens - 1) / kPageTokens;
  TinyLlamaSpec spec = StepKernelLlama();
  spec.num_layers = 2;
  spec.hidden_size = 1024;  // of narrower outputs the tiles would be small
  for (const auto& [outputs, inputs] :
       {std::pair(1024, 6 * 64), std::pair(1024, 448), std::pair(2 * 448, 1024)}) {
    const cuda::HopperPlan plan = cuda::PlanHopperMatMul(kTokens, outputs, inputs, 132, true);
    ASSERT_TRUE(plan.bands == 2 && plan.tokens == 128) << outputs << " of " << inputs;
  }
  CudaTransformerOptions options = Options(DType::kBF16);
  options.cache_pages = 5 * kPages;
  options.max_step_tokens = options.max_sequences = options.max_context_tokens = kTokens;
  const auto pages_from = [](int64_t first) {
    TokenIds pages(kPages);
    std::iota(pages.rbegin(), pages.rend(), static_cast<int32_t>(first));
    return pages;
  };
  const TokenIds sequence = Sequence(kTokens, 9), other = Sequence(200, 2);
  for (const DType dtype : {DType::kBF16, DType::kF16}) {
    SCOPED_TRACE(InfoOf(dtype).name);
    options.dtype = dtype;
    Open(spec, options);
    ASSERT_TRUE(created_.ok()) << created_.status();
    const std::vector<float> small = InSteps(sequence, pages_from(0), 300);
    for (const float logit : small) ASSERT_TRUE(std::isfinite(logit));
    EXPECT_TRUE(SameBits(small, InSteps(sequence, pages_from(kPages), kTokens)));
    const std::vector<Piece> others = {{&other, pages_from(3 * kPages), 0, 190}};
    EXPECT_TRUE(SameBits(small, InSteps(sequence, pages_from(2 * kPages), 1100, others)));
    // Of the last layer queries of one row, and keys and values alone.
    const std::vector<float> last =
        Step({{&sequence, pages_from(4 * kPages), 0, kTokens}}, Wanted::kLast);
    EXPECT_TRUE(SameBits({small.end() - model_->vocabulary_size(), small.end()}, last));
  }
}

// Where few rows of logits are wanted, the last layer computes no others.
TEST_F(CudaTransformerTest, BitsDoNotDependOnTheRowsThatAreWanted) {
  const TokenIds sequence = Sequence(300, 1), other = Sequence(200, 2);
  const TokenIds pages = {4, 7, 1, 0, 9}, other_pages = {10, 11, 12, 13};
  for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
    SCOPED_TRACE(InfoOf(dtype).name);
    Open(Spec(), Options(dtype));
    ASSERT_TRUE(created_.ok()) << created_.status();
    const int64_t vocabulary = model_->vocabulary_size();
    const std::vector<float> whole = InSteps(sequence, pages, 300);
    const std::vector<float> others = InSteps(other, other_pages, 200);
    const auto row = [&](const std::vector<float>& logits, int64_t i) {
      return std::vector<float>(logits.begin() + i * vocabulary,
                                logits.begin() + (i + 1) * vocabulary);
    };
    EXPECT_TRUE(SameBits(row(whole, 299), Step({{&sequence, pages, 0, 300}}, Wanted::kLast)));
    // Keys and values of a step that nobody wants logits of, then rows of several pieces.
    Step({{&sequence, pages, 0, 130}, {&other, other_pages, 0, 150}}, Wanted::kNone);
    const std::vector<float> both =
        Step({{&sequence, pages, 130, 170}, {&other, other_pages, 150, 1}}, Wanted::kLast);
    EXPECT_TRUE(SameBits(row(whole, 299), row(both, 0)));
    EXPECT_TRUE(SameBits(row(others, 150), row(both, 1)));
  }
}

// Prompts, their continuation and decoding of few and of many, as small as can be: what
// tests/gpu.sh runs under compute-sanitizer, which slows steps down a hundredfold.
TEST_F(CudaTransformerTest, FewStepsOfEachKind) {
  const TokenIds sequence = Sequence(70, 6);
  for (const auto& [dtype, intermediate] :
       {std::pair(DType::kBF16, 448), std::pair(DType::kF16, 448), std::pair(DType::kBF16, 416)}) {
    SCOPED_TRACE(InfoOf(dtype).name);
    TinyLlamaSpec spec = Spec();
    spec.intermediate_size = intermediate;
    Open(spec, Options(dtype));
    ASSERT_TRUE(created_.ok()) << created_.status();
    const int64_t vocabulary = model_->vocabulary_size();
    const std::vector<float> whole = Step({{&sequence, {2, 0}, 0, 70}});
    const std::vector<float> chunk = Step({{&sequence, {2, 0}, 60, 5}});
    EXPECT_EQ(std::memcmp(chunk.data(), &whole[60 * vocabulary], chunk.size() * 4), 0);
    for (const int64_t sequences : {1, 2, 9}) {
      const std::vector<float> all =
          Step(std::vector<Piece>(sequences, Piece{&sequence, {2, 0}, 69, 1}));
      for (int64_t s = 0; s < sequences; ++s) {
        EXPECT_EQ(
            std::memcmp(&all[s * vocabulary], &whole[69 * vocabulary], vocabulary * sizeof(float)),
            0)
            << s << " of " << sequences;
      }
    }
  }
}

// Ten splits of attention, which is more than each block merges for itself and no power of two; as
// many sequences as the model was made for, each with as long a context.
TEST_F(CudaTransformerTest, LongContextsHaveTheSameBitsInAnyBatch) {
  CudaTransformerOptions options = Options(DType::kBF16);
  options.cache_pages = kTablePages;
  options.max_context_tokens = 38 * 64;
  options.max_sequences = 12;
  Open(Spec(), options);
  ASSERT_TRUE(created_.ok()) << created_.status();
  const TokenIds sequence = Sequence(38 * 64, 5);
  TokenIds pages(38);
  for (size_t i = 0; i < pages.size(); ++i) pages[i] = static_cast<int32_t>((i * 7) % kTablePages);
  const int64_t vocabulary = model_->vocabulary_size();
  for (int64_t begin = 0; begin < sequence.size(); begin += 500) {
    const int64_t count = std::min<int64_t>(500, sequence.size() - begin);
    Step({{&sequence, pages, begin, count}}, Wanted::kLast);
  }
  const int64_t last = sequence.size() - 1;
  const std::vector<float> want = Step({{&sequence, pages, last - 2, 3}}, Wanted::kLast);
  for (const float logit : want) ASSERT_TRUE(std::isfinite(logit));
  for (const int64_t sequences : {1, 2, 3, 8, 9, 12}) {
    const std::vector<float> all =
        Step(std::vector<Piece>(sequences, Piece{&sequence, pages, last, 1}));
    for (int64_t s = 0; s < sequences; ++s) {
      EXPECT_EQ(std::memcmp(&all[s * vocabulary], want.data(), vocabulary * 4), 0)
          << s << " of " << sequences;
    }
  }
}

TEST_F(CudaTransformerTest, SixteenBitsAreCloseToFloats) {
  const TokenIds sequence = Sequence(200, 3);
  Open(Spec(), Options(DType::kF32));
  ASSERT_TRUE(created_.ok()) << created_.status();
  const std::vector<float> exact = InSteps(sequence, {0, 1, 2, 3}, 200);
  double norm = 0;
  for (const float x : exact) norm += x * x;
  for (const auto& [dtype, most] : {std::pair(DType::kBF16, 0.02), std::pair(DType::kF16, 0.003)}) {
    Open(Spec(), Options(dtype));
    ASSERT_TRUE(created_.ok()) << created_.status();
    const std::vector<float> rounded = InSteps(sequence, {0, 1, 2, 3}, 200);
    double difference = 0;
    for (size_t i = 0; i < exact.size(); ++i) difference += std::pow(exact[i] - rounded[i], 2);
    const double error = std::sqrt(difference / norm);
    std::cout << InfoOf(dtype).name << ": relative error " << error << std::endl;
    EXPECT_LT(error, most);
    EXPECT_GT(error, 0);
  }
}

TEST_F(CudaTransformerTest, ACopiedPageIsReadLikeTheFirst) {
  Open(Spec(), Options(DType::kBF16));
  ASSERT_TRUE(created_.ok()) << created_.status();
  const TokenIds sequence = Sequence(100, 4);
  const std::vector<float> whole = InSteps(sequence, {5, 6}, 100);
  model_->CopyPages({{5, 20}, {6, 21}});
  const std::vector<float> again = Step({{&sequence, {20, 21}, 99, 1}});
  EXPECT_EQ(std::memcmp(again.data(), &whole[99 * model_->vocabulary_size()], again.size() * 4), 0);
}

// A layer's pages are more bytes than a 32-bit number counts.
TEST_F(CudaTransformerTest, APageIsCopiedInALargeCache) {
  constexpr int32_t kPages = 70000;
  CudaTransformerOptions options = Options(DType::kBF16);
  options.cache_pages = kPages;
  Open(Spec(), options);
  ASSERT_TRUE(created_.ok()) << created_.status();
  ASSERT_GT(model_->geometry().BytesPerPage() / Spec().num_layers * kPages, int64_t{1} << 31);
  const TokenIds sequence = Sequence(40, 4);
  const std::vector<float> whole = InSteps(sequence, {5}, 40);
  model_->CopyPages({{5, kPages - 1}, {kPages - 1, 9}});
  for (const int32_t page : {kPages - 1, 9}) {
    const std::vector<float> again = Step({{&sequence, {page}, 39, 1}});
    EXPECT_EQ(std::memcmp(again.data(), &whole[39 * model_->vocabulary_size()], again.size() * 4),
              0)
        << page;
  }
}

// A step of fewer tokens than there may be sequences: no graph's batch is padded beyond it.
TEST_F(CudaTransformerTest, StepsMayBeSmallerThanSequencesAreMany) {
  CudaTransformerOptions options = Options(DType::kBF16);
  options.max_step_tokens = 5;
  options.max_sequences = 8;
  Open(Spec(), options);
  ASSERT_TRUE(created_.ok()) << created_.status();
  const TokenIds sequence = Sequence(20, 7);
  const std::vector<float> whole = InSteps(sequence, {1}, 5);
  const int64_t vocabulary = model_->vocabulary_size();
  for (const int64_t sequences : {1, 3, 4, 5}) {
    const std::vector<float> all =
        Step(std::vector<Piece>(sequences, Piece{&sequence, {1}, 19, 1}));
    for (int64_t s = 0; s < sequences; ++s) {
      EXPECT_EQ(std::memcmp(&all[s * vocabulary], &whole[19 * vocabulary], vocabulary * 4), 0)
          << s << " of " << sequences;
    }
  }
}

// On Hopper their layers' addresses leave a decoding step's kernel 8 slots of shared memory, the
// least that it can do with, and fewer.
TEST_F(CudaTransformerTest, DeepModelsDecodeLikeTheirPrompt) {
  const TokenIds sequence = Sequence(70, 8);
  for (const int64_t layers : {800, 960}) {
    TinyLlamaSpec spec = Spec();
    spec.hidden_size = spec.intermediate_size = 64;
    spec.num_heads = spec.num_kv_heads = 1;
    spec.num_layers = layers;
    Open(spec, Options(DType::kBF16));
    ASSERT_TRUE(created_.ok()) << created_.status();
    const std::vector<float> whole = InSteps(sequence, {3, 2}, 70);
    for (const float logit : whole) ASSERT_TRUE(std::isfinite(logit));
    const int64_t vocabulary = model_->vocabulary_size();
    for (const int64_t sequences : {1, 2}) {
      const std::vector<float> all =
          Step(std::vector<Piece>(sequences, Piece{&sequence, {3, 2}, 69, 1}));
      EXPECT_EQ(
          std::memcmp(&all[(sequences - 1) * vocabulary], &whole[69 * vocabulary], vocabulary * 4),
          0)
          << layers << " layers, " << sequences << " sequences";
    }
  }
}

TEST_F(CudaTransformerTest, MemoryIsAccountedFor) {
  Open(Spec(), Options(DType::kBF16));
  ASSERT_TRUE(created_.ok()) << created_.status();
  const MemoryUse use = model_->memory();
  EXPECT_EQ(use.cache, 33 * model_->geometry().BytesPerPage());  // one is spare
  EXPECT_GT(use.weights, 0);
  EXPECT_GT(use.workspace, 0);
}

TEST_F(CudaTransformerTest, WhatItCannotDoIsSaid) {
  TinyLlamaSpec spec = Spec();
  spec.head_dim = 16;
  Open(spec, Options(DType::kBF16));
  EXPECT_EQ(created_.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(absl::StrContains(created_.status().message(), "this model has 16 and 3"))
      << created_.status();
  Open(Spec(), Options(DType::kQ8_0));
  EXPECT_TRUE(absl::StrContains(created_.status().message(), "not q8_0")) << created_.status();
  CudaTransformerOptions vast = Options(DType::kBF16);
  vast.cache_pages = int64_t{1} << 30;
  Open(Spec(), vast);
  EXPECT_EQ(created_.status().code(), absl::StatusCode::kResourceExhausted) << created_.status();
  // Nothing of it is left for another model's launches to find.
  EXPECT_EQ(cudaPeekAtLastError(), cudaSuccess);
}

}  // namespace
}  // namespace sieve
