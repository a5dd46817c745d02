// A Hugging Face tokenizer, in four parts: tokenizer.json, tokenizer_config.json,
// generation_config.json and chat_template.jinja.

#include "absl/status/status.h"
#include "model/tokenizer/tokenizer_json.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/model_checks.h"
#include "tests/fuzz/scratch.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sieve;  // NOLINT: the function must be outside
  const auto parts = SplitParts(InputText(data, size), 4);
  if (parts[0].empty()) return 0;
  const std::string path = PutScratchFile("tokenizer.json", parts[0]);
  PutScratchFile("tokenizer_config.json", parts[1]);
  PutScratchFile("generation_config.json", parts[2]);
  PutScratchFile("chat_template.jinja", parts[3]);
  const auto vocabulary = ReadTokenizerJson(path);
  if (vocabulary.ok()) {
    CheckVocabulary(*vocabulary);
  } else {
    CheckRefusal(vocabulary.status(), absl::StatusCode::kInvalidArgument);
  }
  return 0;
}
