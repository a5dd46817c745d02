// A GGUF file: its reader, and what the model takes from it.

#include "model/checkpoint/gguf.h"
#include "model/checkpoint/llama_gguf.h"
#include "model/checkpoint/llama_weights.h"
#include "model/tokenizer/gguf_vocabulary.h"
#include "tests/fuzz/check.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/model_checks.h"
#include "tests/fuzz/scratch.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sieve;  // NOLINT: the function must be outside
  if (size == 0) return 0;
  const std::string path = PutScratchFile("model.gguf", InputText(data, size));
  const auto file = GgufFile::Open(path);
  if (!file.ok()) {
    CheckRefusal(file.status(), absl::StatusCode::kInvalidArgument);
    return 0;
  }
  FUZZ_CHECK((*file)->file_bytes() == static_cast<int64_t>(size));
  CheckTensors((*file)->tensors(), (*file)->file_bytes());

  const auto config = ReadGgufConfig(**file);
  if (config.ok()) {
    CheckConfig(*config);
    const auto weights = BindLlamaWeights(*config, kGgufTensorNames, (*file)->tensors());
    if (!weights.ok()) CheckRefusal(weights.status(), absl::StatusCode::kInvalidArgument);
  } else {
    CheckRefusal(config.status(), absl::StatusCode::kInvalidArgument);
  }

  const auto vocabulary = VocabularyFromGguf((*file)->metadata());
  if (vocabulary.ok()) {
    CheckVocabulary(*vocabulary);
  } else {
    CheckRefusal(vocabulary.status(), absl::StatusCode::kInvalidArgument);
  }
  return 0;
}
