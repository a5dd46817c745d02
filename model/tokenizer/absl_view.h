#ifndef SIEVE_MODEL_TOKENIZER_ABSL_VIEW_H_
#define SIEVE_MODEL_TOKENIZER_ABSL_VIEW_H_

#include <string_view>

#include "absl/strings/string_view.h"

namespace sieve {

// Distributions build abseil as C++14, where its string_view is a type of its own.
inline absl::string_view AbslView(std::string_view text) { return {text.data(), text.size()}; }

}  // namespace sieve

#endif  // SIEVE_MODEL_TOKENIZER_ABSL_VIEW_H_
