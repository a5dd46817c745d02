#include "model/sampling/counter_random.h"

#include "kernels/sampling_math.h"

namespace sieve {

std::array<uint32_t, 4> Philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  return Philox4x32(counter, key);
}

double UniformAt(uint64_t seed, int32_t sample, int64_t position) {
  return static_cast<double>(UniformBitsAt(seed, sample, position)) * 0x1p-53;
}

}  // namespace sieve
