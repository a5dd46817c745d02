#ifndef SIEVE_SERVER_MODEL_ENCODING_H_
#define SIEVE_SERVER_MODEL_ENCODING_H_

#include "absl/types/span.h"
#include "server/adapters/adapter_registry.h"
#include "server/engine.h"
#include "server/model_info.h"
#include "sieve/v1/generation.pb.h"

namespace sieve {

v1::GetModelResponse EncodeModel(const ModelInfo& model, const EngineStats& stats,
                                 absl::Span<const AdapterInfo> adapters);
v1::AdapterInfo EncodeAdapter(const AdapterInfo& adapter);

}  // namespace sieve

#endif  // SIEVE_SERVER_MODEL_ENCODING_H_
