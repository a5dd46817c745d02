#ifndef SIEVE_MODEL_SAMPLING_COUNTER_RANDOM_H_
#define SIEVE_MODEL_SAMPLING_COUNTER_RANDOM_H_

#include <array>
#include <cstdint>

namespace sieve {

// Philox4x32-10 (see kernels/sampling_math.h): 128 random bits for each counter and key, without
// state.
std::array<uint32_t, 4> Philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

// The number in [0, 1) that draws token `position` of sample `sample` of a request with this seed.
// It depends on nothing else, so neither do the tokens: not on the batch, on chunks, or on having
// been preempted. A multiple of 2^-53.
double UniformAt(uint64_t seed, int32_t sample, int64_t position);

}  // namespace sieve

#endif  // SIEVE_MODEL_SAMPLING_COUNTER_RANDOM_H_
