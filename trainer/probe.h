#ifndef SIEVE_TRAINER_PROBE_H_
#define SIEVE_TRAINER_PROBE_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <vector>

#include "model/adapter/adapter_config.h"
#include "trainer/layer_tensors.h"
#include "trainer/llama.h"
#include "trainer/report/branch_weights.h"

namespace sieve {

// What sparse attention does with one sequence.
struct ProbeResult {
  BranchWeights branches;
  // By layer and key/value head [T / 64, T / 64], row-major: of the queries of each whole block the
  // share that chose each block. Empty in dense layers.
  std::vector<std::vector<std::vector<float>>> chosen;
  int64_t blocks = 0;  // T / 64
};

// End to end on `tokens` [1, T], with the adapter's own number of selected blocks.
ProbeResult Probe(const FrozenLlama& llama, const AdapterConfig& config,
                  const std::vector<LayerTensors>& layers, const at::Tensor& tokens,
                  int64_t query_chunk);

// As RUN/probe.json has it: the shares by layer, the choices in percent.
nlohmann::json ProbeJson(const AdapterConfig& config, const ProbeResult& probe);

}  // namespace sieve

#endif  // SIEVE_TRAINER_PROBE_H_
