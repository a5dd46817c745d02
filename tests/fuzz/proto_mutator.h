#ifndef SIEVE_TESTS_FUZZ_PROTO_MUTATOR_H_
#define SIEVE_TESTS_FUZZ_PROTO_MUTATOR_H_

#include <cstdint>

#include "google/protobuf/message.h"

namespace sieve {

// Changes one field of a message, or of one inside it: sets it to a value at a border of its type
// or of what is commonly allowed, clears it, adds an entry or drops one. The result depends on
// `seed`.
void MutateMessage(uint64_t seed, google::protobuf::Message* message);

}  // namespace sieve

#endif  // SIEVE_TESTS_FUZZ_PROTO_MUTATOR_H_
