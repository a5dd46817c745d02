#ifndef SIEVE_MODEL_CHECKPOINT_GGML_TYPES_H_
#define SIEVE_MODEL_CHECKPOINT_GGML_TYPES_H_

#include <cstdint>
#include <optional>
#include <string>

#include "kernels/dtype.h"

namespace sieve {

// The storage type that a GGUF file's tensor type number stands for; none when it is not supported.
std::optional<DType> DTypeOfGgmlType(uint32_t type);

// The inverse.
uint32_t GgmlTypeOf(DType dtype);

// For messages: the type's name in GGUF ("iq2_xs"), supported or not, or its number.
std::string GgmlTypeName(uint32_t type);

}  // namespace sieve

#endif  // SIEVE_MODEL_CHECKPOINT_GGML_TYPES_H_
