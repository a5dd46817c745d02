#include "model/checkpoint/random_weights.h"

#include <algorithm>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "kernels/dtype.h"
#include "kernels/float16.h"
#include "kernels/tensor_view.h"
#include "kernels/thread_pool.h"
#include "model/checkpoint/llama_weights.h"
#include "model/checkpoint/random_fill.h"

namespace sieve {
namespace {

constexpr int64_t kAlignment = 64;              // bytes; of each tensor's beginning
constexpr int64_t kChunk = 1 << 20;             // values that one task makes
constexpr int64_t kTooMany = int64_t{1} << 62;  // bytes; more are not told apart

struct Tensor {
  std::string name;
  int64_t rows;
  int64_t cols;
  bool is_norm;
  int64_t offset;  // bytes from the memory's beginning

  int64_t size() const { return rows * cols; }
};

// The tensors of a shape, one after the other.
class Layout {
 public:
  explicit Layout(const HfConfig& config) {
    const ModelConfig& model = config.model;
    const LlamaTensorNames& names = kHfTensorNames;
    Matrix(names.embedding, model.vocabulary_size, model.hidden_size);
    Norm(names.final_norm, model.hidden_size);
    if (!model.tied_embeddings) Matrix(names.head, model.vocabulary_size, model.hidden_size);
    for (int64_t i = 0; i < model.num_layers; ++i) {
      AddLayer(config, absl::StrCat(names.layer_prefix, i, "."));
    }
  }

  const std::vector<Tensor>& tensors() const { return tensors_; }
  int64_t bytes() const { return bytes_; }

 private:
  void AddLayer(const HfConfig& config, const std::string& prefix) {
    const ModelConfig& model = config.model;
    const LlamaTensorNames& names = kHfTensorNames;
    const int64_t hidden = model.hidden_size;
    const int64_t inner = model.intermediate_size;
    const int64_t q_rows = model.num_heads * model.head_dim;
    const int64_t kv_rows = model.num_kv_heads * model.head_dim;
    Norm(prefix + names.attention_norm, hidden);
    Linear(prefix + names.q, q_rows, hidden, config.attention_bias);
    Linear(prefix + names.k, kv_rows, hidden, config.attention_bias);
    Linear(prefix + names.v, kv_rows, hidden, config.attention_bias);
    Linear(prefix + names.o, hidden, q_rows, config.attention_bias);
    Norm(prefix + names.mlp_norm, hidden);
    Linear(prefix + names.gate, inner, hidden, config.mlp_bias);
    Linear(prefix + names.up, inner, hidden, config.mlp_bias);
    Linear(prefix + names.down, hidden, inner, config.mlp_bias);
  }

  void Norm(const std::string& module, int64_t size) { Add(module + ".weight", 1, size, true); }
  void Matrix(const std::string& module, int64_t rows, int64_t cols) {
    Add(module + ".weight", rows, cols, false);
  }
  void Linear(const std::string& module, int64_t rows, int64_t cols, bool bias) {
    Matrix(module, rows, cols);
    if (bias) Add(module + ".bias", 1, rows, false);
  }

  // A valid shape's tensors are below 2^53 bytes each, but not their sum.
  void Add(std::string name, int64_t rows, int64_t cols, bool is_norm) {
    tensors_.push_back({std::move(name), rows, cols, is_norm, bytes_});
    const int64_t bytes = rows * RowBytes(DType::kBF16, cols);
    bytes_ = std::min(bytes_ + (bytes + kAlignment - 1) / kAlignment * kAlignment, kTooMany);
  }

  std::vector<Tensor> tensors_;
  int64_t bytes_ = 0;
};

absl::Span<uint16_t> ValuesOf(const Tensor& tensor, const AnonymousMemory& memory) {
  return {reinterpret_cast<uint16_t*>(memory.data() + tensor.offset),
          static_cast<size_t>(tensor.size())};
}

void FillTensors(const std::vector<Tensor>& tensors, const RandomWeightsOptions& options,
                 const AnonymousMemory& memory) {
  struct Task {
    const Tensor* tensor;
    int64_t begin;
  };
  std::vector<Task> tasks;
  for (const Tensor& tensor : tensors) {
    for (int64_t begin = 0; begin < tensor.size(); begin += kChunk) {
      tasks.push_back({&tensor, begin});
    }
  }
  const NormalBf16 normal(options.deviation);
  const int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  ThreadPool pool(options.num_threads > 0 ? options.num_threads : cores);
  pool.ParallelFor(static_cast<int64_t>(tasks.size()), [&](int64_t i, int) {
    const auto [tensor, begin] = tasks[i];
    const absl::Span<uint16_t> part = ValuesOf(*tensor, memory).subspan(begin, kChunk);
    if (tensor->is_norm) {
      std::fill(part.begin(), part.end(), FloatToBFloat16(1));
    } else {
      normal.Fill(RandomKey(options.seed, tensor->name), begin, part);
    }
  });
}

}  // namespace

absl::StatusOr<RandomWeights> MakeRandomWeights(const HfConfig& config,
                                                const RandomWeightsOptions& options) {
  const Layout layout(config);
  absl::StatusOr<AnonymousMemory> memory = AnonymousMemory::Map(layout.bytes());
  if (!memory.ok()) return memory.status();
  FillTensors(layout.tensors(), options, *memory);
  TensorMap tensors;
  for (const Tensor& tensor : layout.tensors()) {
    tensors.emplace(tensor.name, TensorView{.data = memory->data() + tensor.offset,
                                            .dtype = DType::kBF16,
                                            .rows = tensor.rows,
                                            .cols = tensor.cols});
  }
  absl::StatusOr<LlamaWeights> weights = BindLlamaWeights(config.model, kHfTensorNames, tensors);
  if (!weights.ok()) return weights.status();
  return RandomWeights{*std::move(memory), *std::move(weights)};
}

}  // namespace sieve
