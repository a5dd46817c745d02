#include "model/tokenizer/tokenizer_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "model/tokenizer/tokenizer.h"
#include "tests/testdata/files.h"
#include "tests/testdata/tiny_vocabulary.h"

namespace sieve {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;
using Kind = Vocabulary::Kind;

class TokenizerJsonTest : public testing::Test {
 protected:
  TokenizerJsonTest() : folder_(testing::TempDir() + "/tokenizer_json_test/") {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directory(folder_);
  }

  void Write(const std::string& name, const json& content) {
    ASSERT_TRUE(
        WriteFile(folder_ + name, content.is_string() ? content.get<std::string>() : content.dump())
            .ok());
  }
  absl::StatusOr<Vocabulary> Read() const { return ReadTokenizerJson(folder_ + "tokenizer.json"); }
  // The error of a file.
  std::string Error(const json& content) {
    Write("tokenizer.json", content);
    const absl::Status status = Read().status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(folder_ + "tokenizer.json: "));
    return std::string(status.message());
  }

  const std::string folder_;
  // The bytes, then four special tokens; no merges.
  const json tiny_ = json::parse(TinyTokenizerJson());
};

json Patched(json value, const json& patch) {
  value.merge_patch(patch);
  return value;
}

json AddedToken(int id, const char* content, bool special) {
  return {{"id", id}, {"content", content}, {"special", special}};
}

TEST_F(TokenizerJsonTest, ReadsTokensOfEachKind) {
  json file = tiny_;
  file["added_tokens"].push_back(AddedToken(262, "<user>", false));
  file["model"]["vocab"]["aĠ"] = 260;
  Write("tokenizer.json", file);
  const auto vocabulary = Read();
  ASSERT_TRUE(vocabulary.ok()) << vocabulary.status();
  ASSERT_EQ(vocabulary->tokens.size(), 263u);
  EXPECT_EQ(vocabulary->tokens[0].bytes, std::string(1, '\0'));
  EXPECT_EQ(vocabulary->tokens[255].bytes, "\xFF");
  EXPECT_EQ(vocabulary->tokens[255].kind, Kind::kNormal);
  EXPECT_EQ(vocabulary->tokens[kTinyImEnd].bytes, "<|im_end|>");
  EXPECT_EQ(vocabulary->tokens[kTinyImEnd].kind, Kind::kSpecial);
  EXPECT_EQ(vocabulary->tokens[260].bytes, "a ");
  EXPECT_EQ(vocabulary->tokens[261].kind, Kind::kUnused);
  EXPECT_EQ(vocabulary->tokens[262].kind, Kind::kUserDefined);
  EXPECT_EQ(vocabulary->pre_tokenizer, PreTokenizer::kGpt2);
  EXPECT_FALSE(vocabulary->add_bos);
  EXPECT_TRUE(Tokenizer::Create(*vocabulary).ok());
}

TEST_F(TokenizerJsonTest, ReadsMergesInBothForms) {
  for (const json& merges : {json{"a b", "ab Ġ"}, json::array({{"a", "b"}, {"ab", "Ġ"}})}) {
    json file = tiny_;
    file["model"]["vocab"]["ab"] = 260;
    file["model"]["vocab"]["abĠ"] = 261;
    file["model"]["merges"] = merges;
    Write("tokenizer.json", file);
    const auto vocabulary = Read();
    ASSERT_TRUE(vocabulary.ok()) << vocabulary.status();
    EXPECT_THAT(vocabulary->merges, ElementsAre(Pair('a', 'b'), Pair(260, ' ')));
  }
}

TEST_F(TokenizerJsonTest, RecognisesPreTokenizers) {
  const json byte_level = {{"type", "ByteLevel"}, {"add_prefix_space", false}};
  json no_regex = byte_level;
  no_regex["use_regex"] = false;
  const json digits = {{"type", "Digits"}, {"individual_digits", true}};
  const json split = {
      {"type", "Split"},
      {"pattern",
       {{"Regex",
         R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"}}},
      {"behavior", "Isolated"},
      {"invert", false}};
  const auto sequence = [](const json& first, const json& second) {
    return json{{"type", "Sequence"}, {"pretokenizers", {first, second}}};
  };
  const auto read = [&](const json& pre_tokenizer) {
    json file = tiny_;
    file["pre_tokenizer"] = pre_tokenizer;
    Write("tokenizer.json", file);
    const auto vocabulary = Read();
    EXPECT_TRUE(vocabulary.ok()) << vocabulary.status();
    return vocabulary->pre_tokenizer;
  };
  EXPECT_EQ(read(byte_level), PreTokenizer::kGpt2);
  EXPECT_EQ(read(sequence(digits, byte_level)), PreTokenizer::kSmolLm);
  EXPECT_EQ(read(sequence(split, no_regex)), PreTokenizer::kLlama3);

  json prefix = byte_level;
  prefix["add_prefix_space"] = true;
  json other_split = split;
  other_split["pattern"]["Regex"] = R"(\p{N})";
  json removed = split;
  removed["behavior"] = "Removed";
  for (const json& unknown :
       {json(), json(7), prefix, no_regex, digits, sequence(byte_level, digits),
        sequence(split, byte_level), sequence(other_split, no_regex), sequence(removed, no_regex),
        sequence(digits, no_regex), json{{"type", "Sequence"}}, json{{"type", "Whitespace"}}}) {
    json file = tiny_;
    file["pre_tokenizer"] = unknown;
    EXPECT_THAT(Error(file), HasSubstr("pre_tokenizer: not supported")) << unknown;
  }
}

TEST_F(TokenizerJsonTest, ReadsBosFromThePostProcessor) {
  const json bos = {{"SpecialToken", {{"id", "<|endoftext|>"}, {"type_id", 0}}}};
  const json a = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  const auto with = [&](const json& single, const json& ids) {
    const json processor = {
        {"type", "TemplateProcessing"},
        {"single", single},
        {"special_tokens", {{"<|endoftext|>", {{"id", "<|endoftext|>"}, {"ids", ids}}}}}};
    json file = tiny_;
    file["post_processor"] = {{"type", "Sequence"},
                              {"processors", {{{"type", "ByteLevel"}}, processor}}};
    return file;
  };
  Write("tokenizer.json", with({bos, a}, {256}));
  auto vocabulary = Read();
  ASSERT_TRUE(vocabulary.ok()) << vocabulary.status();
  EXPECT_EQ(vocabulary->bos, 256);
  EXPECT_TRUE(vocabulary->add_bos);

  Write("tokenizer.json", with(json::array({a}), {256}));
  vocabulary = Read();
  ASSERT_TRUE(vocabulary.ok()) << vocabulary.status();
  EXPECT_FALSE(vocabulary->add_bos);

  EXPECT_THAT(Error(with({a, bos}, {256})), HasSubstr("post_processor: not supported"));
  EXPECT_THAT(Error(with({bos, bos, a}, {256})), HasSubstr("post_processor: not supported"));
  EXPECT_THAT(Error(with({bos, a}, {256, 257})), HasSubstr("post_processor: not supported"));
  EXPECT_THAT(Error(with({bos, a}, "x")), HasSubstr("post_processor: not supported"));
  EXPECT_THAT(Error(with({bos, a}, {260})), HasSubstr("post_processor: token 260 of 260"));
}

TEST_F(TokenizerJsonTest, RefusesWhatIsMalformedByKey) {
  const auto vocab = [](const json& entries) { return json{{"model", {{"vocab", entries}}}}; };
  const auto added = [](const json& entry) { return json{{"added_tokens", {entry}}}; };
  const auto merges = [](const json& list) { return json{{"model", {{"merges", list}}}}; };
  const struct {
    json patch;
    const char* reason;
  } kCases[] = {
      {{{"model", nullptr}}, "model: is not an object"},
      {{{"model", {{"vocab", nullptr}}}}, "model.vocab: is not an object"},
      {{{"model", {{"vocab", nullptr}, {"type", "BPE"}}}}, "model.vocab"},
      {{{"model", {{"type", "WordPiece"}}}}, "model.type: \"WordPiece\""},
      {{{"model", {{"type", 1}}}}, "\"type\" is not a string"},
      {{{"model", {{"ignore_merges", 1}}}}, "\"ignore_merges\""},
      {{{"model", {{"continuing_subword_prefix", "##"}}}}, "prefixes, suffixes"},
      {{{"model", {{"dropout", 0.1}}}}, "dropout"},
      {vocab({{"a", "x"}}), "model.vocab: \"a\": its id is not an integer"},
      {vocab({{"a", -1}}), "its id is not an integer from 0"},
      {vocab({{"a", 1 << 30}}), "its id is not an integer from 0"},
      {vocab({{"a", 1e30}}), "its id is not an integer from 0"},
      {vocab({{"a", 'b'}}), "also that of"},
      {vocab({{"aa", kTinyPad}}), "also that of \"<|pad|>\""},
      {vocab({{"a b", 260}}), "\"a b\": is not in the byte-level alphabet"},
      {vocab({{"", 260}}), "is not in the byte-level alphabet"},
      {{{"added_tokens", 1}}, "added_tokens: is not a list"},
      {added(1), "added_tokens[0]: is not an object"},
      {added({{"id", 256}}), "added_tokens[0]: has no content"},
      {added({{"id", 256}, {"content", 1}}), "\"content\" is not a string"},
      {added({{"id", "x"}, {"content", "<s>"}}), "\"<s>\": its id is not an integer"},
      {added({{"content", "<s>"}}), "\"<s>\": its id is not an integer"},
      {added({{"id", 256}, {"content", "<s>"}, {"lstrip", true}}), "\"lstrip\" is not supported"},
      {{{"added_tokens", {AddedToken(256, "<a>", true), AddedToken(256, "<b>", true)}}},
       "added_tokens[1]: \"<b>\": its id is also that of \"<a>\""},
      {merges(1), "model.merges: is not a list"},
      {merges({1}), "model.merges[0]: is neither a string nor a pair"},
      {merges(json::array({json::array({"a", "b", "c"})})), "model.merges[0]: is neither"},
      {merges({"a b c"}), "model.merges[0]"},
      {merges({"ab"}), "model.merges[0]"},
      {merges({"a xyz"}), "model.merges[0]: \"xyz\" is no ordinary token"},
      {merges({"a <|pad|>"}), "is no ordinary token"},
      {{{"normalizer", {{"type", "NFC"}}}},
       "normalizer: not supported: \"{\\\"type\\\":\\\"NFC\\\"}\""},
      {{{"post_processor", {{"type", "BertProcessing"}}}}, "post_processor: not supported"},
  };
  for (const auto& test : kCases) {
    EXPECT_THAT(Error(Patched(tiny_, test.patch)), HasSubstr(test.reason)) << test.patch;
  }
}

TEST_F(TokenizerJsonTest, UnknownTokensAndByteFallbackNeedEveryByte) {
  for (const json& patch :
       {json{{"model", {{"unk_token", "<|pad|>"}}}}, json{{"model", {{"byte_fallback", true}}}}}) {
    json file = Patched(tiny_, patch);
    Write("tokenizer.json", file);
    EXPECT_TRUE(Read().ok());
    file["model"]["vocab"].erase("a");
    EXPECT_THAT(Error(file), HasSubstr("only if every byte has a token"));
  }
}

TEST_F(TokenizerJsonTest, RefusesWhatIsNoJson) {
  const std::string whole = tiny_.dump();
  for (size_t length = 0; length < whole.size(); length += whole.size() / 64) {
    Error(whole.substr(0, length));
  }
  Error("[]");
  Error("\xFF");
  Error(std::string(1'000'000, '['));
  std::string deep;
  for (int i = 0; i < 200'000; ++i) deep += "{\"model\":";
  Error(deep);
}

// Values are copied and printed in errors, which recurses into them.
TEST_F(TokenizerJsonTest, RefusesDeepNesting) {
  const auto nested = [](int levels) {
    return std::string(levels, '[') + std::string(levels, ']');
  };
  const auto file_with = [&](const char* key, const std::string& value) {
    json file = tiny_;
    file.erase(key);
    std::string text = file.dump();
    text.pop_back();
    return text + ",\"" + key + "\":" + value + "}";
  };
  EXPECT_THAT(Error(file_with("normalizer", nested(60))), HasSubstr("not supported"));
  EXPECT_THAT(Error(file_with("normalizer", nested(70))), HasSubstr("deeper than 64 levels"));
  const std::string deep = nested(1'000'000);
  EXPECT_THAT(Error(file_with("normalizer", deep)), HasSubstr("deeper than 64 levels"));
  EXPECT_THAT(Error(file_with("added_tokens", R"([{"content":"x","id":)" + deep + "}]")),
              HasSubstr("deeper than 64 levels"));
  Write("tokenizer.json", tiny_);
  Write("generation_config.json", R"({"eos_token_id":)" + deep + "}");
  EXPECT_THAT(std::string(Read().status().message()), HasSubstr("deeper than 64 levels"));
}

TEST_F(TokenizerJsonTest, NoSuchFile) { EXPECT_TRUE(absl::IsNotFound(Read().status())); }

TEST_F(TokenizerJsonTest, ReadsTheFilesBesideIt) {
  Write("tokenizer.json", tiny_);
  Write("tokenizer_config.json", {{"bos_token", {{"content", "<|im_start|>"}}},
                                  {"eos_token", "<|im_end|>"},
                                  {"add_bos_token", true},
                                  {"chat_template", "{{ a }}"}});
  Write("generation_config.json", {{"eos_token_id", {kTinyEndOfText, kTinyImEnd}}});
  Write("config.json", {{"eos_token_id", kTinyPad}});
  auto vocabulary = Read();
  ASSERT_TRUE(vocabulary.ok()) << vocabulary.status();
  EXPECT_EQ(vocabulary->bos, kTinyImStart);
  EXPECT_TRUE(vocabulary->add_bos);
  EXPECT_THAT(vocabulary->eos, ElementsAre(kTinyImEnd, kTinyEndOfText, kTinyPad));
  EXPECT_EQ(vocabulary->chat_template, "{{ a }}");

  Write("chat_template.jinja", "{{ b }}");
  EXPECT_EQ(Read()->chat_template, "{{ b }}");
  std::filesystem::remove(folder_ + "chat_template.jinja");
  Write("tokenizer_config.json",
        {{"chat_template",
          {{{"name", "tool_use"}, {"template", "t"}}, {{"name", "default"}, {"template", "d"}}}}});
  EXPECT_EQ(Read()->chat_template, "d");
}

TEST_F(TokenizerJsonTest, RefusesMalformedFilesBesideIt) {
  Write("tokenizer.json", tiny_);
  const struct {
    const char* name;
    json content;
    const char* reason;
  } kCases[] = {
      {"tokenizer_config.json", "{", "malformed JSON"},
      {"tokenizer_config.json", {{"bos_token", 1}}, "\"bos_token\" names no token"},
      {"tokenizer_config.json", {{"bos_token", "<x>"}}, "\"<x>\" is no special token"},
      {"tokenizer_config.json", {{"eos_token", "a"}}, "\"a\" is no special token"},
      {"tokenizer_config.json", {{"add_bos_token", "x"}}, "\"add_bos_token\""},
      {"tokenizer_config.json", {{"add_bos_token", true}}, "there is no bos_token"},
      {"tokenizer_config.json", {{"chat_template", 1}}, "\"chat_template\" is neither"},
      {"tokenizer_config.json", {{"chat_template", {1}}}, "\"chat_template\" lists"},
      {"generation_config.json", {{"eos_token_id", "x"}}, "\"eos_token_id\""},
      {"generation_config.json", {{"eos_token_id", {0, 260}}}, "not 0 to 259"},
      {"config.json", {{"eos_token_id", -1}}, "not 0 to 259"},
  };
  for (const auto& test : kCases) {
    Write(test.name, test.content);
    const absl::Status status = Read().status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(test.name), HasSubstr(test.reason)));
    std::filesystem::remove(folder_ + test.name);
  }
}

}  // namespace
}  // namespace sieve
