#include "server/model_info.h"

#include <algorithm>
#include <array>

namespace sieve {
namespace {

std::string_view NameOf(PreTokenizer pre_tokenizer) {
  switch (pre_tokenizer) {
    case PreTokenizer::kGpt2:
      return "gpt2";
    case PreTokenizer::kLlama3:
      return "llama3";
    case PreTokenizer::kSmolLm:
      return "smollm";
  }
  return "unknown";
}

// Counts parameters and bytes of the tensors it is shown.
class WeightCount {
 public:
  void Add(const TensorView& tensor) {
    if (!tensor) return;
    const int64_t elements = tensor.rows * tensor.cols;
    parameters += elements;
    bytes += tensor.bytes();
    parameters_of_type_[static_cast<size_t>(tensor.dtype)] += elements;
  }

  void Add(const LayerWeights& layer) {
    for (const TensorView* tensor :
         {&layer.attention_norm, &layer.q, &layer.k, &layer.v, &layer.o, &layer.q_bias,
          &layer.k_bias, &layer.v_bias, &layer.o_bias, &layer.mlp_norm, &layer.gate, &layer.up,
          &layer.down, &layer.gate_bias, &layer.up_bias, &layer.down_bias}) {
      Add(*tensor);
    }
  }

  DType MostCommonType() const {
    const auto most = std::max_element(parameters_of_type_.begin(), parameters_of_type_.end());
    return static_cast<DType>(most - parameters_of_type_.begin());
  }

  int64_t parameters = 0;
  int64_t bytes = 0;

 private:
  std::array<int64_t, kNumDTypes> parameters_of_type_{};
};

}  // namespace

ModelInfo DescribeModel(const ModelConfig& config, const LlamaWeights& weights,
                        const CacheGeometry& cache, const Tokenizer& tokenizer) {
  WeightCount count;
  count.Add(weights.embedding);
  count.Add(weights.final_norm);
  if (weights.head.data != weights.embedding.data) count.Add(weights.head);
  for (const LayerWeights& layer : weights.layers) count.Add(layer);

  const Vocabulary& vocabulary = tokenizer.vocabulary();
  ModelInfo info;
  info.config = config;
  info.parameters = count.parameters;
  info.weight_type = InfoOf(count.MostCommonType()).name;
  info.weight_bytes = count.bytes;
  info.cache = cache;
  info.pre_tokenizer = NameOf(vocabulary.pre_tokenizer);
  info.bos = vocabulary.bos;
  info.eos = vocabulary.eos;
  return info;
}

}  // namespace sieve
