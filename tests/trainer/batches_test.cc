#include "trainer/batches.h"

#include <gtest/gtest.h>

#include <vector>

namespace sieve {
namespace {

template <typename T>
std::vector<T> Values(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.contiguous();
  return std::vector<T>(flat.data_ptr<T>(), flat.data_ptr<T>() + flat.numel());
}

TEST(Batches, RowsArePaddedAfterTheirEnd) {
  const std::vector<int32_t> tokens = {1, 2, 3, 4, 5, 6, 7, 8};
  const TokenBatch batch = MakeTokenBatch(tokens, {}, {{5, 3}, {1, 2}}, at::kCPU);
  EXPECT_EQ(Values<int64_t>(batch.tokens), std::vector<int64_t>({6, 7, 8, 2, 3, 0}));
  EXPECT_EQ(Values<bool>(batch.real), std::vector<bool>({true, true, true, true, true, false}));
  EXPECT_FALSE(batch.answers.defined());
  EXPECT_FALSE(MakeTokenBatch(tokens, {}, {{5, 3}, {1, 3}}, at::kCPU).real.defined());
  EXPECT_EQ(Values<int64_t>(MakeBatch(tokens, {2, 0}, 2, at::kCPU)),
            std::vector<int64_t>({3, 4, 1, 2}));
}

TEST(Batches, AnswersAreThoseWithinARow) {
  const std::vector<int32_t> tokens(12, 9);
  const std::vector<TokenRange> answers = {{1, 3}, {4, 5}, {7, 11}};
  const std::vector<Sequence> rows = {{2, 4}, {8, 2}};
  const TokenBatch batch = MakeTokenBatch(tokens, answers, rows, at::kCPU);
  EXPECT_EQ(Values<bool>(batch.answers),
            std::vector<bool>({true, false, true, false, true, true, false, false}));
  // What begins a row follows nothing that could predict it.
  EXPECT_EQ(AnswersOf(answers, rows), 2);
  EXPECT_EQ(AnswersOf(answers, {{1, 1}, {5, 2}, {11, 1}}), 0);
  EXPECT_FALSE(MakeTokenBatch(tokens, answers, {{10, 2}}, at::kCPU).answers.defined());
  EXPECT_EQ(AnswersOf(answers, {{0, 12}}), 7);
}

}  // namespace
}  // namespace sieve
