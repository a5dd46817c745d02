#ifndef SIEVE_CLIENT_BENCH_PARAMETERS_H_
#define SIEVE_CLIENT_BENCH_PARAMETERS_H_

#include "client/bench/options.h"
#include "nlohmann/json.hpp"

namespace sieve {

// The options under the names of their flags; what was not given and has no default is left out.
nlohmann::ordered_json ParametersJson(const BenchOptions& options);

}  // namespace sieve

#endif  // SIEVE_CLIENT_BENCH_PARAMETERS_H_
