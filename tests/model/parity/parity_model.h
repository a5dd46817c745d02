#ifndef SIEVE_TESTS_MODEL_PARITY_PARITY_MODEL_H_
#define SIEVE_TESTS_MODEL_PARITY_PARITY_MODEL_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/checkpoint/checkpoint.h"
#include "model/transformer.h"

namespace sieve {

using TokenIds = std::vector<int32_t>;

// A checkpoint with its transformer, cache in float32, for comparing logits with golden ones.
class ParityModel {
 public:
  // The cache holds `max_sequences` sequences of `max_tokens` tokens.
  static absl::StatusOr<ParityModel> Open(const std::string& path, int64_t max_sequences,
                                          int64_t max_tokens);

  int64_t vocabulary_size() const { return transformer_->vocabulary_size(); }

  // Logits [positions, vocabulary] of a sequence, which is fed in steps of `step_tokens`. Positions
  // rise.
  absl::StatusOr<std::vector<float>> Logits(const TokenIds& tokens, const TokenIds& positions,
                                            int64_t step_tokens);

  // The `count` most probable tokens after each prompt, one by one; all prompts decode together.
  absl::StatusOr<std::vector<TokenIds>> Greedy(const std::vector<TokenIds>& prompts, int64_t count);

 private:
  // Tokens begin .. of a sequence, and which of them want logits, counted from begin.
  struct Piece {
    int64_t sequence = 0;
    const int32_t* tokens = nullptr;
    int64_t begin = 0;
    int64_t count = 0;
    TokenIds wanted;
  };

  ParityModel(std::unique_ptr<Checkpoint> checkpoint, std::unique_ptr<Transformer> transformer,
              int64_t max_sequences, int64_t max_pages)
      : checkpoint_(std::move(checkpoint)),
        transformer_(std::move(transformer)),
        max_sequences_(max_sequences),
        max_pages_(max_pages) {}

  absl::StatusOr<std::vector<float>> Step(const std::vector<Piece>& pieces);

  std::unique_ptr<Checkpoint> checkpoint_;  // outlives the transformer
  std::unique_ptr<Transformer> transformer_;
  int64_t max_sequences_;
  int64_t max_pages_;  // of one sequence
};

}  // namespace sieve

#endif  // SIEVE_TESTS_MODEL_PARITY_PARITY_MODEL_H_
