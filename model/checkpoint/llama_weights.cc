#include "model/checkpoint/llama_weights.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace sieve {
namespace {

// Looks tensors up and checks them; the first error stays.
class Binder {
 public:
  explicit Binder(const TensorMap& tensors) : tensors_(tensors) {}

  const absl::Status& status() const { return status_; }

  // A vector [1, size], which computations read without dequantising blocks.
  TensorView Vector(const std::string& name, int64_t size) {
    const TensorView view = Tensor(name, 1, size);
    if (view && InfoOf(view.dtype).elements != 1) {
      status_.Update(Error(name, absl::StrCat("type ", InfoOf(view.dtype).name,
                                              " is not supported for a norm or bias")));
    }
    return view;
  }

  TensorView Norm(const std::string& module, int64_t size) {
    return Vector(absl::StrCat(module, ".weight"), size);
  }

  TensorView Matrix(const std::string& module, int64_t rows, int64_t cols) {
    return Tensor(absl::StrCat(module, ".weight"), rows, cols);
  }

  // Absent when the file has none.
  TensorView Bias(const std::string& module, int64_t size) {
    const std::string name = absl::StrCat(module, ".bias");
    return tensors_.contains(name) ? Vector(name, size) : TensorView();
  }

 private:
  static absl::Status Error(const std::string& name, const std::string& reason) {
    return absl::InvalidArgumentError(absl::StrCat("tensor \"", name, "\": ", reason));
  }

  TensorView Tensor(const std::string& name, int64_t rows, int64_t cols) {
    const auto it = tensors_.find(name);
    if (it == tensors_.end()) {
      status_.Update(Error(name, "missing"));
      return {};
    }
    const TensorView& view = it->second;
    if (view.rows != rows || view.cols != cols) {
      status_.Update(Error(name, absl::StrCat("shape [", view.rows, ", ", view.cols,
                                              "], expected [", rows, ", ", cols, "]")));
    }
    return view;
  }

  const TensorMap& tensors_;
  absl::Status status_;
};

LayerWeights BindLayer(const ModelConfig& config, const LlamaTensorNames& names,
                       const std::string& prefix, Binder& binder) {
  const int64_t hidden = config.hidden_size;
  const int64_t inner = config.intermediate_size;
  const int64_t q_rows = config.num_heads * config.head_dim;
  const int64_t kv_rows = config.num_kv_heads * config.head_dim;
  LayerWeights layer;
  layer.attention_norm = binder.Norm(prefix + names.attention_norm, hidden);
  layer.q = binder.Matrix(prefix + names.q, q_rows, hidden);
  layer.k = binder.Matrix(prefix + names.k, kv_rows, hidden);
  layer.v = binder.Matrix(prefix + names.v, kv_rows, hidden);
  layer.o = binder.Matrix(prefix + names.o, hidden, q_rows);
  layer.q_bias = binder.Bias(prefix + names.q, q_rows);
  layer.k_bias = binder.Bias(prefix + names.k, kv_rows);
  layer.v_bias = binder.Bias(prefix + names.v, kv_rows);
  layer.o_bias = binder.Bias(prefix + names.o, hidden);
  layer.mlp_norm = binder.Norm(prefix + names.mlp_norm, hidden);
  layer.gate = binder.Matrix(prefix + names.gate, inner, hidden);
  layer.up = binder.Matrix(prefix + names.up, inner, hidden);
  layer.down = binder.Matrix(prefix + names.down, hidden, inner);
  layer.gate_bias = binder.Bias(prefix + names.gate, inner);
  layer.up_bias = binder.Bias(prefix + names.up, inner);
  layer.down_bias = binder.Bias(prefix + names.down, hidden);
  return layer;
}

}  // namespace

absl::StatusOr<LlamaWeights> BindLlamaWeights(const ModelConfig& config,
                                              const LlamaTensorNames& names,
                                              const TensorMap& tensors) {
  Binder binder(tensors);
  LlamaWeights weights;
  weights.embedding = binder.Matrix(names.embedding, config.vocabulary_size, config.hidden_size);
  weights.final_norm = binder.Norm(names.final_norm, config.hidden_size);
  weights.head = config.tied_embeddings
                     ? weights.embedding
                     : binder.Matrix(names.head, config.vocabulary_size, config.hidden_size);
  for (int64_t i = 0; i < config.num_layers && binder.status().ok(); ++i) {
    weights.layers.push_back(
        BindLayer(config, names, absl::StrCat(names.layer_prefix, i, "."), binder));
  }
  if (!binder.status().ok()) return binder.status();
  return weights;
}

}  // namespace sieve
