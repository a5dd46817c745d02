#ifndef SIEVE_MODEL_ADAPTER_ADAPTER_H_
#define SIEVE_MODEL_ADAPTER_ADAPTER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "model/adapter/adapter_config.h"

namespace sieve {

// A layer's tensors as floats, row-major; docs/adapters.md gives each its shape. Empty where the
// configuration asks for none, and all of them in a dense layer.
struct AdapterLayer {
  std::vector<float> index_q, index_k;
  std::vector<float> gate_q, gate_k;
  std::vector<float> tilt, query_shift, bias;
  std::vector<float> key_position, value_position;
  std::vector<float> key_up, key_down, value_up, value_down;
  std::vector<float> combine_weight, combine_bias;
};

// An adapter in memory.
struct Adapter {
  AdapterConfig config;
  std::vector<AdapterLayer> layers;  // [num_layers]
  // SHA-256 of the two files that it was read from, 64 hex digits: two adapters with one digest
  // compute the same. Empty for one that was not read from files.
  std::string digest;
};

// One tensor of a layer that a configuration asks for.
struct AdapterTensor {
  const char* name = nullptr;  // within "layers.N."
  std::vector<int64_t> shape;
  std::vector<float> AdapterLayer::*values = nullptr;
};

// What a layer that is not dense holds, in the order of the table in docs/adapters.md.
std::vector<AdapterTensor> AdapterTensors(const AdapterConfig& config);

}  // namespace sieve

#endif  // SIEVE_MODEL_ADAPTER_ADAPTER_H_
