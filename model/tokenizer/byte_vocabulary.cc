#include "model/tokenizer/byte_vocabulary.h"

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace sieve {

absl::StatusOr<Vocabulary> MakeByteVocabulary(int64_t size, std::optional<int32_t> bos,
                                              std::vector<int32_t> eos) {
  constexpr int kBytes = 256;
  Vocabulary vocabulary;
  vocabulary.tokens.resize(size);
  const auto make_special = [&](int32_t id) {
    vocabulary.tokens[id] = {absl::StrCat("<|special_", id, "|>"), Vocabulary::Kind::kSpecial};
  };
  for (const int32_t id : eos) make_special(id);
  if (bos.has_value()) make_special(*bos);
  int byte = 0;
  for (int64_t id = 0; id < size; ++id) {
    std::string& bytes = vocabulary.tokens[id].bytes;
    if (!bytes.empty()) continue;
    bytes = byte < kBytes ? std::string(1, static_cast<char>(byte)) : absl::StrCat(" ", id);
    ++byte;
  }
  if (byte < kBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("a vocabulary of ", size, " tokens leaves ", byte, " beside bos and eos; ",
                     kBytes, " are needed, one a byte, where there is no tokenizer"));
  }
  vocabulary.bos = bos;
  vocabulary.add_bos = bos.has_value();
  vocabulary.eos = std::move(eos);
  return vocabulary;
}

}  // namespace sieve
