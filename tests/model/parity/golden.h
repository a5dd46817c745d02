#ifndef SIEVE_TESTS_MODEL_PARITY_GOLDEN_H_
#define SIEVE_TESTS_MODEL_PARITY_GOLDEN_H_

#include <nlohmann/json.hpp>
#include <string>

namespace sieve {

// Logits may differ from the golden ones by this much of the greatest one.
inline constexpr double kLogitTolerance = 2e-4;

// A file of goldens/, as make_goldens.py wrote it. Ends the process when it cannot be read.
nlohmann::json ReadGolden(const std::string& name);

// The greatest difference between a row of logits and its golden values, as a fraction of the
// greatest golden magnitude: over the logits that the golden row holds, the norm of the whole row
// and its greatest magnitude.
double RelativeError(const float* logits, int64_t vocabulary_size, const nlohmann::json& golden);

}  // namespace sieve

#endif  // SIEVE_TESTS_MODEL_PARITY_GOLDEN_H_
