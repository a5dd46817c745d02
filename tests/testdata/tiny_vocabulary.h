#ifndef SIEVE_TESTS_TESTDATA_TINY_VOCABULARY_H_
#define SIEVE_TESTS_TESTDATA_TINY_VOCABULARY_H_

#include <cstdint>
#include <string>
#include <vector>

namespace sieve {

// Ids of the tiny vocabulary: 0 .. 255 are the bytes themselves, then four special tokens. There
// are no merges.
// <|endoftext|>: an eos token, and bos (not added to prompts).
inline constexpr int32_t kTinyEndOfText = 256;
inline constexpr int32_t kTinyImStart = 257;  // <|im_start|>
inline constexpr int32_t kTinyImEnd = 258;    // <|im_end|>, an eos token too
inline constexpr int32_t kTinyPad = 259;      // <|pad|>
inline constexpr int64_t kTinyTokens = 260;

// The tokens of the tiny vocabulary by id, bytes in GPT-2's printable alphabet.
std::vector<std::string> TinyTokens();

std::string TinyTokenizerJson();
std::string TinyTokenizerConfigJson();

// A ChatML template in Jinja.
std::string TinyChatTemplate();

}  // namespace sieve

#endif  // SIEVE_TESTS_TESTDATA_TINY_VOCABULARY_H_
