#ifndef SIEVE_TRAINER_EVAL_INTERVAL_JSON_H_
#define SIEVE_TRAINER_EVAL_INTERVAL_JSON_H_

#include <nlohmann/json.hpp>
#include <optional>

#include "trainer/eval/statistics.h"

namespace sieve {

// [low, high], or null for none.
inline nlohmann::ordered_json ToJson(const std::optional<Interval>& interval) {
  if (!interval) return nullptr;
  return nlohmann::ordered_json::array({interval->low, interval->high});
}

}  // namespace sieve

#endif  // SIEVE_TRAINER_EVAL_INTERVAL_JSON_H_
