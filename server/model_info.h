#ifndef SIEVE_SERVER_MODEL_INFO_H_
#define SIEVE_SERVER_MODEL_INFO_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/cache/geometry.h"
#include "model/config.h"
#include "model/tokenizer/tokenizer.h"
#include "model/weights.h"
#include "server/limits.h"

namespace sieve {

// What GetModel tells of the served model; fixed while the server runs.
struct ModelInfo {
  ModelConfig config;
  int64_t parameters = 0;
  std::string weight_type;  // the type that most parameters are stored in, such as "q4_1"
  int64_t weight_bytes = 0;
  CacheGeometry cache;
  std::string_view pre_tokenizer;  // "llama3", "gpt2" or "smollm"
  std::optional<int32_t> bos;
  std::vector<int32_t> eos;
  std::string chat_format;  // empty: chat is refused
  Limits limits;
};

// Everything but the chat format and the limits.
ModelInfo DescribeModel(const ModelConfig& config, const LlamaWeights& weights,
                        const CacheGeometry& cache, const Tokenizer& tokenizer);

}  // namespace sieve

#endif  // SIEVE_SERVER_MODEL_INFO_H_
