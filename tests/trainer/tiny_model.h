#ifndef SIEVE_TESTS_TRAINER_TINY_MODEL_H_
#define SIEVE_TESTS_TRAINER_TINY_MODEL_H_

#include <cstdint>
#include <memory>
#include <string>

#include "model/adapter/adapter.h"
#include "model/checkpoint/checkpoint.h"
#include "tests/testdata/tiny_llama.h"

namespace sieve {

// A tiny random model: a Hugging Face folder, or a GGUF file.
std::unique_ptr<Checkpoint> OpenTinyModel(const TinyLlamaSpec& spec, bool gguf);

// Options for that model, small enough that a few hundred tokens have a rest.
AdapterConfig TinyAdapterConfig(const ModelConfig& model);

// Random tensors of every kind that the options ask for.
Adapter SeededAdapter(const AdapterConfig& config, uint64_t seed);

// A text of small letters, each a token of that model.
std::string SeededLetters(int64_t count, uint64_t seed);

}  // namespace sieve

#endif  // SIEVE_TESTS_TRAINER_TINY_MODEL_H_
