#ifndef SIEVE_TESTS_MODEL_ATTENTION_RANDOM_ADAPTER_H_
#define SIEVE_TESTS_MODEL_ATTENTION_RANDOM_ADAPTER_H_

#include <memory>
#include <random>

#include "model/adapter/adapter.h"
#include "model/config.h"

namespace sieve {

// `config` for the shape of a model.
AdapterConfig WithShapeOf(const ModelConfig& model, AdapterConfig config);

// An adapter with random tensors of a size that lets all of them matter.
std::shared_ptr<const Adapter> RandomAdapter(std::mt19937_64& random, const AdapterConfig& config);

}  // namespace sieve

#endif  // SIEVE_TESTS_MODEL_ATTENTION_RANDOM_ADAPTER_H_
