#ifndef SIEVE_MODEL_TOKENIZER_TOKENIZER_PIPELINE_H_
#define SIEVE_MODEL_TOKENIZER_TOKENIZER_PIPELINE_H_

#include <nlohmann/json.hpp>

#include "absl/status/status.h"
#include "model/tokenizer/vocabulary.h"

namespace sieve {

// Reads what surrounds the model in a tokenizer.json: sets pre_tokenizer, and bos with add_bos
// where the post-processor puts a token first. REQUIRES: vocabulary->tokens is filled.
// INVALID_ARGUMENT, naming the key, for normalizers, pre-tokenizers and post-processors that would
// change tokens in any way unknown here.
absl::Status ReadTokenizerPipeline(const nlohmann::json& file, Vocabulary* vocabulary);

}  // namespace sieve

#endif  // SIEVE_MODEL_TOKENIZER_TOKENIZER_PIPELINE_H_
