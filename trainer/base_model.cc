#include "trainer/base_model.h"

#include <utility>

#include "model/adapter/base_digest.h"

namespace sieve {

absl::StatusOr<BaseModel> OpenBaseModel(const std::string& path) {
  BaseModel model;
  auto checkpoint = OpenCheckpoint(path);
  if (!checkpoint.ok()) return checkpoint.status();
  auto tokenizer = Tokenizer::Create((*checkpoint)->vocabulary());
  if (!tokenizer.ok()) return tokenizer.status();
  model.digest = BaseDigest((*checkpoint)->config(), (*checkpoint)->weights());
  model.checkpoint = *std::move(checkpoint);
  model.tokenizer = *std::move(tokenizer);
  return model;
}

}  // namespace sieve
