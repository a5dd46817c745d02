#include "trainer/layer_tensors.h"

#include <cstdint>

namespace sieve {

std::vector<LayerTensors> LoadLayers(const Adapter& adapter, at::Device device) {
  const std::vector<AdapterTensor> tensors = AdapterTensors(adapter.config);
  std::vector<LayerTensors> layers(adapter.config.num_layers);
  for (int64_t l = 0; l < adapter.config.num_layers; ++l) {
    if (adapter.config.is_dense(l)) continue;
    for (const AdapterTensor& tensor : tensors) {
      const std::vector<float>& values = adapter.layers[l].*tensor.values;
      layers[l][tensor.name] = at::from_blob(const_cast<float*>(values.data()), tensor.shape,
                                             at::TensorOptions(at::kFloat))
                                   .to(device, at::kFloat, /*non_blocking=*/false, /*copy=*/true);
    }
  }
  return layers;
}

std::vector<LayerTensors> ZeroLayers(const AdapterConfig& config, at::Device device) {
  std::vector<LayerTensors> layers(config.num_layers);
  for (int64_t l = 0; l < config.num_layers; ++l) {
    if (config.is_dense(l)) continue;
    for (const AdapterTensor& tensor : AdapterTensors(config)) {
      layers[l][tensor.name] =
          at::zeros(tensor.shape, at::TensorOptions(at::kFloat).device(device));
    }
  }
  return layers;
}

Adapter StoreLayers(const AdapterConfig& config, const std::vector<LayerTensors>& layers) {
  const std::vector<AdapterTensor> tensors = AdapterTensors(config);
  Adapter adapter;
  adapter.config = config;
  adapter.layers.resize(config.num_layers);
  for (int64_t l = 0; l < config.num_layers; ++l) {
    if (config.is_dense(l)) continue;
    for (const AdapterTensor& tensor : tensors) {
      const at::Tensor host =
          layers[l].at(tensor.name).detach().to(at::kCPU, at::kFloat).contiguous();
      const float* data = host.data_ptr<float>();
      (adapter.layers[l].*tensor.values).assign(data, data + host.numel());
    }
  }
  return adapter;
}

at::Tensor TensorOf(const LayerTensors& layer, const std::string& name) {
  const auto found = layer.find(name);
  return found == layer.end() ? at::Tensor() : found->second;
}

}  // namespace sieve
