#ifndef SIEVE_MODEL_ADAPTER_PARAMETER_REPORT_H_
#define SIEVE_MODEL_ADAPTER_PARAMETER_REPORT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "model/adapter/adapter_config.h"
#include "model/config.h"

namespace sieve {

// Numbers of an adapter's parameters by part.
struct AdapterParameters {
  int64_t selector = 0;           // index.*, gate.*
  int64_t key_compression = 0;    // MLP of keys; what an entry's logit has: tilt, shift and bias
  int64_t value_compression = 0;  // MLP of values
  int64_t positions = 0;          // position embeddings of both
  int64_t combiner = 0;           // combine.*

  int64_t total() const {
    return selector + key_compression + value_compression + positions + combiner;
  }
};

struct ParameterReport {
  std::vector<AdapterParameters> layers;  // zeros for dense ones
  AdapterParameters sum;
  int64_t base_parameters = 0;  // 0: not known
};

// Weights of a model of this shape without biases; tied embeddings count once.
int64_t BaseParameters(const ModelConfig& config);

// `base_parameters` is 0 where the model is not at hand. REQUIRES: a valid configuration.
ParameterReport CountParameters(const AdapterConfig& config, int64_t base_parameters);

// A table for people: a line for each run of layers that are alike, then the sums and, where the
// base is known, their share of it in percent.
std::string FormatParameterReport(const ParameterReport& report);

}  // namespace sieve

#endif  // SIEVE_MODEL_ADAPTER_PARAMETER_REPORT_H_
