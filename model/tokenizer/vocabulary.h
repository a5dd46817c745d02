#ifndef SIEVE_MODEL_TOKENIZER_VOCABULARY_H_
#define SIEVE_MODEL_TOKENIZER_VOCABULARY_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace sieve {

// Limits on what a file may ask for.
inline constexpr int64_t kMaxVocabularySize = 1 << 21;
inline constexpr int64_t kMaxTokenBytes = 1024;

// How text is cut into words before byte-pair merges.
enum class PreTokenizer { kGpt2, kLlama3, kSmolLm };

// What a byte-level BPE tokenizer is made from, whatever file it came from.
struct Vocabulary {
  enum class Kind : uint8_t {
    kNormal,
    kSpecial,      // control tokens: <|im_end|>; never made from text unless allowed, left out of
                   // decoded text
    kUserDefined,  // added tokens that are matched in any text before pre-tokenization, and decoded
    kUnused,       // a hole in the range of ids: never made from text, has no bytes
  };
  struct Token {
    std::string
        bytes;  // raw bytes (not the GPT-2 printable alphabet); for special tokens their name
    Kind kind = Kind::kNormal;
  };
  std::vector<Token> tokens;  // by id
  // Merges in order of rank, as pairs of token ids; the merged token is the concatenation.
  // Empty with merge_by_id: a pair merges when its concatenation is a token, lowest id first
  // (tiktoken).
  std::vector<std::pair<int32_t, int32_t>> merges;
  bool merge_by_id = false;
  // A word that is itself a token is taken whole, without merging (tiktoken, Llama 3's
  // tokenizer.json).
  bool ignore_merges = false;
  PreTokenizer pre_tokenizer = PreTokenizer::kGpt2;
  std::optional<int32_t> bos;
  bool add_bos = false;       // whether encoding with special tokens puts bos first
  std::vector<int32_t> eos;   // all tokens that end a generation
  std::string chat_template;  // Jinja source; only recognised, never executed
};

}  // namespace sieve

#endif  // SIEVE_MODEL_TOKENIZER_VOCABULARY_H_
