// A Hugging Face config.json.

#include "model/checkpoint/hf_config.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/model_checks.h"
#include "tests/fuzz/scratch.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sieve;  // NOLINT: the function must be outside
  if (size == 0) return 0;
  const auto config = ReadHfConfig(PutScratchFile("config.json", InputText(data, size)));
  if (config.ok()) {
    CheckConfig(config->model);
  } else {
    CheckRefusal(config.status(), absl::StatusCode::kInvalidArgument);
  }
  return 0;
}
