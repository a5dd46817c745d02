#ifndef SIEVE_TESTS_MODEL_ADAPTER_MODEL_H_
#define SIEVE_TESTS_MODEL_ADAPTER_MODEL_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

#include "model/checkpoint/checkpoint.h"
#include "model/transformer.h"
#include "tests/model/attention/random_adapter.h"

namespace sieve {

// Small enough a base set that contexts of a few hundred tokens have a rest.
inline AdapterConfig SmallAdapter(Selector selector) {
  AdapterConfig c;
  c.window_blocks = 1;
  c.selected_blocks = 2;
  c.selector = selector;
  c.index_rank = 4;
  return c;
}

// A part of a sequence in a step.
struct AdapterPiece {
  const std::vector<int32_t>* sequence;
  std::vector<int32_t> pages;
  int64_t begin;
  int64_t end;
  int32_t adapter = -1;
  int32_t prompt = 0;
};

// A model, on any device, and its steps.
class AdapterModel {
 public:
  AdapterModel(std::unique_ptr<Checkpoint> checkpoint, std::unique_ptr<Transformer> model)
      : checkpoint_(std::move(checkpoint)), model_(std::move(model)) {}

  Transformer* operator->() { return model_.get(); }
  int64_t vocabulary() const { return model_->vocabulary_size(); }

  std::shared_ptr<const Adapter> Random(std::mt19937_64& random, const AdapterConfig& config) {
    return RandomAdapter(random, WithShapeOf(model_->config(), config));
  }
  void Load(int32_t slot, std::mt19937_64& random, const AdapterConfig& config) {
    const absl::Status status = model_->SetAdapter(slot, Random(random, config));
    EXPECT_TRUE(status.ok()) << status;
  }

  absl::Status TryStep(const std::vector<AdapterPiece>& pieces, std::vector<float>* logits) {
    constexpr int64_t kStride = 16;
    std::vector<int32_t> tokens, positions, offsets = {0}, tables, rows, adapters, prompts;
    for (const AdapterPiece& p : pieces) {
      for (int64_t i = p.begin; i < p.end; ++i) {
        rows.push_back(static_cast<int32_t>(tokens.size()));
        tokens.push_back((*p.sequence)[i]);
        positions.push_back(static_cast<int32_t>(i));
      }
      offsets.push_back(static_cast<int32_t>(tokens.size()));
      std::vector<int32_t> table = p.pages;
      table.resize(kStride, -1);
      tables.insert(tables.end(), table.begin(), table.end());
      adapters.push_back(p.adapter);
      prompts.push_back(p.prompt);
    }
    logits->assign(rows.size() * vocabulary(), std::nanf(""));
    return model_->Forward({.tokens = tokens,
                            .positions = positions,
                            .offsets = offsets,
                            .block_tables = tables,
                            .block_table_stride = kStride,
                            .logit_rows = rows,
                            .adapters = adapters,
                            .prompt_tokens = prompts},
                           absl::MakeSpan(*logits));
  }
  // The logits of every token, [tokens, vocabulary].
  std::vector<float> Step(const std::vector<AdapterPiece>& pieces) {
    std::vector<float> logits;
    const absl::Status status = TryStep(pieces, &logits);
    EXPECT_TRUE(status.ok()) << status;
    return logits;
  }

  std::vector<int32_t> Tokens(std::mt19937_64& random, int64_t count) const {
    std::vector<int32_t> tokens(count);
    for (int32_t& t : tokens) t = static_cast<int32_t>(random() % vocabulary());
    return tokens;
  }

 private:
  std::unique_ptr<Checkpoint> checkpoint_;
  std::unique_ptr<Transformer> model_;
};

// So many pages, not in order.
inline std::vector<int32_t> Pages(int32_t first, int64_t count) {
  std::vector<int32_t> pages(count);
  std::iota(pages.begin(), pages.end(), first);
  std::reverse(pages.begin(), pages.end());
  return pages;
}

// Whether `part` is what `whole` has from token `from` on, to the last bit.
inline bool Same(const std::vector<float>& whole, int64_t from, const std::vector<float>& part,
                 int64_t vocabulary) {
  return std::memcmp(whole.data() + from * vocabulary, part.data(), part.size() * sizeof(float)) ==
         0;
}

}  // namespace sieve

#endif  // SIEVE_TESTS_MODEL_ADAPTER_MODEL_H_
