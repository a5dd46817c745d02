// A Hugging Face folder's weights, in three parts: an index and two shards. Without an index the
// first shard is the single file model.safetensors.

#include "absl/status/status.h"
#include "model/checkpoint/hf_tensors.h"
#include "model/checkpoint/llama_weights.h"
#include "tests/fuzz/check.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/model_checks.h"
#include "tests/fuzz/scratch.h"

namespace {

using namespace sieve;  // NOLINT: LLVMFuzzerTestOneInput must be outside

// The shape of the seeds.
ModelConfig SeedConfig() {
  ModelConfig config;
  config.architecture = "llama";
  config.hidden_size = config.intermediate_size = config.head_dim = 8;
  config.num_layers = config.num_heads = config.num_kv_heads = 1;
  config.vocabulary_size = 260;
  config.tied_embeddings = true;
  return config;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto parts = SplitParts(InputText(data, size), 3);
  const bool sharded = !parts[0].empty();
  PutScratchFile("model.safetensors.index.json", parts[0]);
  PutScratchFile("model.safetensors", sharded ? "" : parts[1]);
  PutScratchFile("model-00001-of-00002.safetensors", sharded ? parts[1] : "");
  PutScratchFile("model-00002-of-00002.safetensors", sharded ? parts[2] : "");

  const auto tensors = OpenHfTensors(ScratchFolder());
  if (!tensors.ok()) {
    const bool nothing = !sharded && parts[1].empty();
    CheckRefusal(tensors.status(),
                 nothing ? absl::StatusCode::kNotFound : absl::StatusCode::kInvalidArgument);
    return 0;
  }
  int64_t bytes = 0;
  for (const auto& file : tensors->files) bytes += file->file_bytes();
  FUZZ_CHECK(bytes <= static_cast<int64_t>(size));
  CheckTensors(tensors->tensors, bytes);
  const auto weights = BindLlamaWeights(SeedConfig(), kHfTensorNames, tensors->tensors);
  if (!weights.ok()) CheckRefusal(weights.status(), absl::StatusCode::kInvalidArgument);
  return 0;
}
