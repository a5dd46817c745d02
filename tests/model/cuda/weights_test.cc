#include "model/cuda/weights.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <vector>

#include "kernels/cuda/weight_tiles.h"
#include "tests/kernels/cuda/device_buffer.h"

namespace sieve {
namespace {

using cuda::Decode;
using cuda::Encode;

// A tensor with its memory.
struct Tensor {
  Tensor(int64_t rows, int64_t cols, DType dtype, uint32_t seed)
      : values(cuda::RandomValues(rows * cols, dtype, seed)),
        bytes(Encode(values, dtype)),
        view{bytes.data(), dtype, rows, cols} {}
  std::vector<float> values;
  std::vector<char> bytes;
  TensorView view;
};

// A model of one layer, of odd sizes.
struct Model {
  static constexpr int64_t kHidden = 72, kInner = 88, kVocabulary = 37;

  explicit Model(DType dtype) {
    config.hidden_size = kHidden;
    config.intermediate_size = kInner;
    config.vocabulary_size = kVocabulary;
    config.tied_embeddings = true;
    weights.embedding = weights.head = Add(kVocabulary, kHidden, dtype);
    weights.final_norm = Add(1, kHidden, dtype);
    LayerWeights& layer = weights.layers.emplace_back();
    layer.attention_norm = Add(1, kHidden, DType::kF32);
    layer.q = Add(40, kHidden, dtype);
    layer.k = Add(24, kHidden, dtype);
    layer.v = Add(24, kHidden, dtype);
    layer.q_bias = Add(1, 40, DType::kF32);
    layer.k_bias = Add(1, 24, DType::kF32);
    layer.v_bias = Add(1, 24, DType::kF32);
    layer.o = Add(kHidden, 40, dtype);
    layer.mlp_norm = Add(1, kHidden, DType::kF32);
    layer.gate = Add(kInner, kHidden, dtype);
    layer.up = Add(kInner, kHidden, dtype);
    layer.gate_bias = Add(1, kInner, dtype);
    layer.up_bias = Add(1, kInner, dtype);
    layer.down = Add(kHidden, kInner, dtype);
  }
  TensorView Add(int64_t rows, int64_t cols, DType dtype) {
    tensors.emplace_back(rows, cols, dtype, static_cast<uint32_t>(tensors.size()));
    return tensors.back().view;
  }
  // An element of a tensor that Add has returned.
  float At(const TensorView& view, int64_t row, int64_t col) const {
    for (const Tensor& tensor : tensors) {
      if (tensor.view.data == view.data) return tensor.values[row * view.cols + col];
    }
    return std::nanf("");
  }

  ModelConfig config;
  LlamaWeights weights;
  std::vector<Tensor> tensors;
};

std::vector<char> Read(const void* device, int64_t bytes) {
  std::vector<char> out(bytes);
  cuda::Check(cudaMemcpy(out.data(), device, bytes, cudaMemcpyDeviceToHost));
  return out;
}

class CudaWeightsTest : public testing::TestWithParam<std::tuple<DType, DType>> {
 protected:
  // That `matrix` holds value(n, k), and zeros where it is filled up.
  void ExpectHolds(const CudaMatrix& matrix, const std::function<float(int64_t, int64_t)>& value) {
    const DType dtype = std::get<1>(GetParam());
    const bool tiled = dtype != DType::kF32;
    const int64_t elements =
        tiled ? cuda::TiledElements(matrix.outputs, matrix.inputs) : matrix.outputs * matrix.inputs;
    std::vector<float> got = Decode(Read(matrix.data, elements * InfoOf(dtype).bytes), dtype);
    for (int64_t n = 0; n < matrix.outputs; ++n) {
      for (int64_t k = 0; k < matrix.inputs; ++k) {
        float& element =
            got[tiled ? cuda::TiledOffset(n, k, matrix.inputs) : n * matrix.inputs + k];
        ASSERT_EQ(element, Decode(Encode({value(n, k)}, dtype), dtype)[0]) << n << " " << k;
        element = 0;
      }
    }
    for (const float element : got) ASSERT_EQ(element, 0);
  }
  void ExpectHolds(const float* vector, int64_t size, const std::function<float(int64_t)>& value) {
    const std::vector<float> got = Decode(Read(vector, size * 4), DType::kF32);
    for (int64_t i = 0; i < size; ++i) ASSERT_EQ(got[i], value(i)) << i;
  }
};

TEST_P(CudaWeightsTest, LieAsKernelsReadThem) {
  const Model model(std::get<0>(GetParam()));
  const auto uploaded = CudaWeights::Upload(model.config, model.weights, std::get<1>(GetParam()));
  ASSERT_TRUE(uploaded.ok()) << uploaded.status();
  const LayerWeights& host = model.weights.layers[0];
  const CudaLayerWeights& device = uploaded->layers[0];
  const auto plain = [&](const TensorView& view) {
    return [&](int64_t n, int64_t k) { return model.At(view, n, k); };
  };
  ExpectHolds(uploaded->embedding, plain(model.weights.embedding));
  EXPECT_EQ(uploaded->head.data, uploaded->embedding.data);
  ExpectHolds(device.o, plain(host.o));
  ExpectHolds(device.down, plain(host.down));
  EXPECT_EQ(device.down.bias, nullptr);
  ExpectHolds(uploaded->final_norm, Model::kHidden,
              [&](int64_t i) { return model.At(model.weights.final_norm, 0, i); });

  const auto qkv = [&](const TensorView& q, const TensorView& k, const TensorView& v, int64_t n,
                       bool bias, int64_t col) {
    const TensorView& part = n < 40 ? q : n < 64 ? k : v;
    const int64_t row = n < 40 ? n : n < 64 ? n - 40 : n - 64;
    return bias ? model.At(part, 0, row) : model.At(part, row, col);
  };
  EXPECT_EQ(device.qkv.outputs, 88);
  ExpectHolds(device.qkv,
              [&](int64_t n, int64_t k) { return qkv(host.q, host.k, host.v, n, false, k); });
  ExpectHolds(device.qkv.bias, 88,
              [&](int64_t n) { return qkv(host.q_bias, host.k_bias, host.v_bias, n, true, 0); });

  std::vector<std::pair<const TensorView*, int64_t>> gate_up(2 * Model::kInner);
  std::vector<const TensorView*> biases(2 * Model::kInner);
  for (int64_t i = 0; i < Model::kInner; ++i) {
    gate_up[cuda::GateRow(i)] = {&host.gate, i};
    gate_up[cuda::UpRow(i)] = {&host.up, i};
    biases[cuda::GateRow(i)] = &host.gate_bias;
    biases[cuda::UpRow(i)] = &host.up_bias;
  }
  EXPECT_EQ(device.gate_up.outputs, 2 * Model::kInner);
  ExpectHolds(device.gate_up, [&](int64_t n, int64_t k) {
    return model.At(*gate_up[n].first, gate_up[n].second, k);
  });
  ExpectHolds(device.gate_up.bias, 2 * Model::kInner,
              [&](int64_t n) { return model.At(*biases[n], 0, gate_up[n].second); });
}

INSTANTIATE_TEST_SUITE_P(Types, CudaWeightsTest,
                         testing::Combine(testing::Values(DType::kF32, DType::kF16, DType::kBF16),
                                          testing::Values(DType::kF32, DType::kF16, DType::kBF16)));

}  // namespace
}  // namespace sieve
