#ifndef SIEVE_TRAINER_BASE_MODEL_H_
#define SIEVE_TRAINER_BASE_MODEL_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "model/checkpoint/checkpoint.h"
#include "model/tokenizer/tokenizer.h"

namespace sieve {

// A checkpoint with what is made of it for training and evaluation alike.
struct BaseModel {
  std::unique_ptr<Checkpoint> checkpoint;
  std::unique_ptr<Tokenizer> tokenizer;
  std::string digest;  // BaseDigest
};

// The errors of OpenCheckpoint and Tokenizer::Create.
absl::StatusOr<BaseModel> OpenBaseModel(const std::string& path);

}  // namespace sieve

#endif  // SIEVE_TRAINER_BASE_MODEL_H_
