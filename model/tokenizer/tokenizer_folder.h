#ifndef SIEVE_MODEL_TOKENIZER_TOKENIZER_FOLDER_H_
#define SIEVE_MODEL_TOKENIZER_TOKENIZER_FOLDER_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/tokenizer/vocabulary.h"

namespace sieve {

// Completes a vocabulary from the files beside its tokenizer.json, each of which may be absent:
// bos, eos, add_bos_token and chat_template of tokenizer_config.json, chat_template.jinja (which
// goes first), and eos_token_id of generation_config.json and config.json. INVALID_ARGUMENT, with
// file and key, for what is malformed or names unknown tokens.
absl::Status ReadTokenizerFolder(const std::string& folder, Vocabulary* vocabulary);

// A config's eos_token_id, an id or a list of ids; empty when it has none. INVALID_ARGUMENT, naming
// the key, for what is not in [0, vocabulary_size).
absl::StatusOr<std::vector<int32_t>> ReadEosIds(const nlohmann::json& config,
                                                int64_t vocabulary_size);

}  // namespace sieve

#endif  // SIEVE_MODEL_TOKENIZER_TOKENIZER_FOLDER_H_
