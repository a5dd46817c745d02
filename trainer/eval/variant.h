#ifndef SIEVE_TRAINER_EVAL_VARIANT_H_
#define SIEVE_TRAINER_EVAL_VARIANT_H_

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/adapter/adapter.h"
#include "model/config.h"

namespace sieve {

// What is compared with the dense model: an adapter at a budget.
struct Variant {
  std::string name;  // of the adapter
  std::shared_ptr<const Adapter> adapter;
  int64_t selected_blocks = 0;  // instead of the adapter's own

  // The adapter's, with this budget.
  AdapterConfig config() const;
};

// Opens each adapter ("NAME=FOLDER", or "FOLDER", whose last part is then the name) once and pairs
// it with every budget, or with its own where there is none. INVALID_ARGUMENT for a name that is
// given twice, a negative budget or an adapter of another model; the errors of OpenAdapter.
absl::StatusOr<std::vector<Variant>> OpenVariants(absl::Span<const std::string> adapters,
                                                  absl::Span<const int64_t> budgets,
                                                  const ModelConfig& model,
                                                  const std::string& model_digest);

// Name, digest and budget: how every table of results begins a row.
nlohmann::ordered_json VariantJson(const Variant& variant);
nlohmann::ordered_json DenseJson();  // of the row that the others are compared with

// The share of the keys before and at a token that it reads exactly, over the queries at positions
// 0 … tokens-1 and all layers; a dense layer reads all. REQUIRES: tokens > 0.
double Density(const AdapterConfig& config, int64_t tokens);

}  // namespace sieve

#endif  // SIEVE_TRAINER_EVAL_VARIANT_H_
