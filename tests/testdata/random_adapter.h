#ifndef SIEVE_TESTS_TESTDATA_RANDOM_ADAPTER_H_
#define SIEVE_TESTS_TESTDATA_RANDOM_ADAPTER_H_

#include <cstdint>

#include "model/adapter/adapter.h"
#include "model/config.h"

namespace sieve {

// The default options, for a model of this shape; the digest is given where it matters.
AdapterConfig AdapterConfigFor(const ModelConfig& model, const std::string& base_digest = "");

// An adapter whose tensors hold random values in [-0.1, 0.1], which depend on the seed, the
// tensor's name and the place in it alone.
Adapter RandomAdapter(const AdapterConfig& config, uint64_t seed);

}  // namespace sieve

#endif  // SIEVE_TESTS_TESTDATA_RANDOM_ADAPTER_H_
