#ifndef SIEVE_TESTS_MODEL_ATTENTION_RANDOM_ADAPTER_H_
#define SIEVE_TESTS_MODEL_ATTENTION_RANDOM_ADAPTER_H_

#include <cstdint>
#include <memory>
#include <random>
#include <string>

#include "model/adapter/adapter.h"
#include "model/config.h"

namespace sieve {

// `config` for the shape of a model.
AdapterConfig WithShapeOf(const ModelConfig& model, AdapterConfig config);

// The default options, for a model of this shape; the digest is given where it matters.
AdapterConfig AdapterConfigFor(const ModelConfig& model, const std::string& base_digest = "");

// An adapter with random tensors of a size that lets all of them matter.
std::shared_ptr<const Adapter> RandomAdapter(std::mt19937_64& random, const AdapterConfig& config);
// The same one for the same seed.
Adapter RandomAdapter(const AdapterConfig& config, uint64_t seed);

}  // namespace sieve

#endif  // SIEVE_TESTS_MODEL_ATTENTION_RANDOM_ADAPTER_H_
