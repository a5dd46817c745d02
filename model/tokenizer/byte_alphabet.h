#ifndef SIEVE_MODEL_TOKENIZER_BYTE_ALPHABET_H_
#define SIEVE_MODEL_TOKENIZER_BYTE_ALPHABET_H_

#include <optional>
#include <string>
#include <string_view>

namespace sieve {

// The bytes that `text` stands for in GPT-2's printable alphabet, where each byte is one character:
// itself when it is printable in Latin-1, else one of U+0100 to U+0143. Nullopt when `text` has any
// other character.
std::optional<std::string> BytesFromAlphabet(std::string_view text);

// The inverse.
std::string AlphabetFromBytes(std::string_view bytes);

}  // namespace sieve

#endif  // SIEVE_MODEL_TOKENIZER_BYTE_ALPHABET_H_
