#ifndef SIEVE_MODEL_ADAPTER_ADAPTER_JSON_H_
#define SIEVE_MODEL_ADAPTER_ADAPTER_JSON_H_

#include <nlohmann/json.hpp>
#include <string_view>

#include "absl/status/statusor.h"
#include "model/adapter/adapter_config.h"

namespace sieve {

// adapter_config.json as a value, with every key.
nlohmann::ordered_json AdapterConfigToJson(const AdapterConfig& config);

// The reverse. Every key must be there and none else: a misspelt key would be a default that nobody
// asked for. INVALID_ARGUMENT, naming the key, for that, for a wrong type or name, for options that
// ValidateAdapterConfig refuses, and for a format_version that this code does not read.
absl::StatusOr<AdapterConfig> AdapterConfigFromJson(const nlohmann::json& object);

// The names that files and flags use. INVALID_ARGUMENT, listing the names there are, for another.
const char* NameOf(Selector selector);
const char* NameOf(Compression compression);
const char* NameOf(Combiner combiner);
absl::StatusOr<Selector> SelectorNamed(std::string_view name);
absl::StatusOr<Compression> CompressionNamed(std::string_view name);
absl::StatusOr<Combiner> CombinerNamed(std::string_view name);

}  // namespace sieve

#endif  // SIEVE_MODEL_ADAPTER_ADAPTER_JSON_H_
