#include "tests/testdata/tiny_vocabulary.h"

#include <nlohmann/json.hpp>

namespace sieve {
namespace {

using nlohmann::json;

// UTF-8 of a code point below 2048.
std::string Utf8(int code_point) {
  if (code_point < 0x80) return std::string(1, static_cast<char>(code_point));
  return {static_cast<char>(0xC0 | (code_point >> 6)), static_cast<char>(0x80 | (code_point & 63))};
}

// GPT-2 shows printable Latin-1 bytes as themselves and the others as U+0100 upwards, in order.
bool IsPrintable(int byte) {
  return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

}  // namespace

std::vector<std::string> TinyTokens() {
  std::vector<std::string> tokens;
  int next = 0x100;
  for (int byte = 0; byte < 256; ++byte) tokens.push_back(Utf8(IsPrintable(byte) ? byte : next++));
  tokens.insert(tokens.end(), {"<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"});
  return tokens;
}

std::string TinyTokenizerJson() {
  const std::vector<std::string> tokens = TinyTokens();
  json vocab = json::object(), added = json::array();
  for (int id = 0; id < static_cast<int>(tokens.size()); ++id) {
    vocab[tokens[id]] = id;
    if (id < kTinyEndOfText) continue;
    added.push_back({{"id", id},
                     {"content", tokens[id]},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", true}});
  }
  const json byte_level = {{"type", "ByteLevel"},
                           {"add_prefix_space", false},
                           {"trim_offsets", true},
                           {"use_regex", true}};
  const json model = {{"type", "BPE"},          {"dropout", nullptr},
                      {"unk_token", nullptr},   {"continuing_subword_prefix", nullptr},
                      {"byte_fallback", false}, {"end_of_word_suffix", nullptr},
                      {"fuse_unk", false},      {"ignore_merges", false},
                      {"vocab", vocab},         {"merges", json::array()}};
  return json{{"version", "1.0"},      {"truncation", nullptr},     {"padding", nullptr},
              {"added_tokens", added}, {"normalizer", nullptr},     {"pre_tokenizer", byte_level},
              {"decoder", byte_level}, {"post_processor", nullptr}, {"model", model}}
      .dump(1);
}

std::string TinyTokenizerConfigJson() {
  return json{{"add_bos_token", false},
              {"bos_token", "<|endoftext|>"},
              {"eos_token", "<|im_end|>"},
              {"pad_token", "<|pad|>"},
              {"chat_template", TinyChatTemplate()},
              {"tokenizer_class", "PreTrainedTokenizerFast"}}
      .dump(1);
}

std::string TinyChatTemplate() {
  return "{% for turn in messages %}{{ '<|im_start|>' + turn['role'] + '\\n' + turn['content'] + "
         "'<|im_end|>\\n' }}{% endfor %}"
         "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";
}

}  // namespace sieve
