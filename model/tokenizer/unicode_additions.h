#ifndef SIEVE_MODEL_TOKENIZER_UNICODE_ADDITIONS_H_
#define SIEVE_MODEL_TOKENIZER_UNICODE_ADDITIONS_H_

namespace sieve {

// Code points that became letters or numbers after Unicode 14, the version of PCRE2 10.42, as
// ranges for a character class. Hugging Face `tokenizers` 0.23 classifies by Unicode 16 in its
// patterns (Oniguruma) and by Unicode 17 in its digit splitter (Rust's char::is_numeric); with
// these ranges PCRE2 agrees with it on every code point. From DerivedGeneralCategory.txt;
// tests/model/tokenizer/tokenizer_parity_test.py compares all.

// Letters (L*) of Unicode 15, 15.1 and 16.
inline constexpr char kNewLetters[] =
    R"(\x{1C89}\x{1C8A}\x{A7CB}-\x{A7CD}\x{A7DA}-\x{A7DC}\x{105C0}-\x{105F3}\x{10D4A}-\x{10D65})"
    R"(\x{10D6F}-\x{10D85}\x{10EC2}-\x{10EC4}\x{1123F}\x{11240}\x{11380}-\x{11389}\x{1138B}\x{1138E})"
    R"(\x{11390}-\x{113B5}\x{113B7}\x{113D1}\x{113D3}\x{11BC0}-\x{11BE0}\x{11F02}\x{11F04}-\x{11F10})"
    R"(\x{11F12}-\x{11F33}\x{1342F}\x{13441}-\x{13446}\x{13460}-\x{143FA}\x{16100}-\x{1611D})"
    R"(\x{16D40}-\x{16D6C}\x{18CFF}\x{1B132}\x{1B155}\x{1DF25}-\x{1DF2A}\x{1E030}-\x{1E06D})"
    R"(\x{1E4D0}-\x{1E4EB}\x{1E5D0}-\x{1E5ED}\x{1E5F0}\x{2B739}\x{2EBF0}-\x{2EE5D}\x{31350}-\x{323AF})";

// Numbers (N*) of Unicode 15, 15.1 and 16.
inline constexpr char kNewNumbers[] =
    R"(\x{10D40}-\x{10D49}\x{116D0}-\x{116E3}\x{11BF0}-\x{11BF9}\x{11F50}-\x{11F59}\x{16130}-\x{16139})"
    R"(\x{16D70}-\x{16D79}\x{1CCF0}-\x{1CCF9}\x{1D2C0}-\x{1D2D3}\x{1E4F0}-\x{1E4F9}\x{1E5F1}-\x{1E5FA})";

// Numbers of Unicode 17.
inline constexpr char kNewNumbers17[] = R"(\x{11DE0}-\x{11DE9}\x{16FF4}-\x{16FF6})";

}  // namespace sieve

#endif  // SIEVE_MODEL_TOKENIZER_UNICODE_ADDITIONS_H_
