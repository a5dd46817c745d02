#ifndef SIEVE_TRAINER_LAYER_TENSORS_H_
#define SIEVE_TRAINER_LAYER_TENSORS_H_

#include <map>
#include <string>
#include <vector>

#include "model/adapter/adapter.h"
#include "trainer/torch_ops.h"

namespace sieve {

// An adapter's layer by the names of docs/adapters.md ("index.q"), float32; empty in a dense layer.
using LayerTensors = std::map<std::string, at::Tensor>;

// The layers of an adapter, copied to a device.
std::vector<LayerTensors> LoadLayers(const Adapter& adapter, at::Device device);

// Zeros of the shapes that a configuration asks for.
std::vector<LayerTensors> ZeroLayers(const AdapterConfig& config, at::Device device);

// The reverse of LoadLayers. REQUIRES: layers of the shapes that `config` asks for.
Adapter StoreLayers(const AdapterConfig& config, const std::vector<LayerTensors>& layers);

// The tensor of a name, undefined where there is none.
at::Tensor TensorOf(const LayerTensors& layer, const std::string& name);

}  // namespace sieve

#endif  // SIEVE_TRAINER_LAYER_TENSORS_H_
