// For libFuzzer: requests change field by field every other time, else byte by byte.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

#include "sieve/v1/generation.pb.h"
#include "tests/fuzz/proto_mutator.h"
#include "tests/fuzz/request_kind.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace {

using namespace sieve;  // NOLINT: LLVMFuzzerCustomMutator must be outside

// Returns the new size; that of an input that would become too large stays.
template <typename Message>
size_t MutateAs(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  Message message;
  // Of what is no message, the part that could be parsed.
  (void)message.ParsePartialFromArray(data, static_cast<int>(size));
  MutateMessage(seed, &message);
  const std::string bytes = message.SerializePartialAsString();
  if (bytes.size() > max_size) return size;
  std::copy(bytes.begin(), bytes.end(), data);
  return bytes.size();
}

}  // namespace

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  if (seed % 2 == 0 || size == 0) return LLVMFuzzerMutate(data, size, max_size);
  switch (RequestKindOf(data[0])) {
    case RequestKind::kTokenize:
      return 1 + MutateAs<v1::TokenizeRequest>(data + 1, size - 1, max_size - 1, seed);
    case RequestKind::kDetokenize:
      return 1 + MutateAs<v1::DetokenizeRequest>(data + 1, size - 1, max_size - 1, seed);
    default:
      return 1 + MutateAs<v1::GenerateRequest>(data + 1, size - 1, max_size - 1, seed);
  }
}
