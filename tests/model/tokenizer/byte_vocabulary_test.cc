#include "model/tokenizer/byte_vocabulary.h"

#include <gtest/gtest.h>

#include <numeric>
#include <string>

#include "model/tokenizer/tokenizer.h"

namespace sieve {
namespace {

std::unique_ptr<Tokenizer> Make(int64_t size, std::optional<int32_t> bos,
                                std::vector<int32_t> eos) {
  auto vocabulary = MakeByteVocabulary(size, bos, std::move(eos));
  EXPECT_TRUE(vocabulary.ok()) << vocabulary.status();
  auto tokenizer = Tokenizer::Create(*std::move(vocabulary));
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return *std::move(tokenizer);
}

std::string AllBytes() {
  std::string text(256, '\0');
  std::iota(text.begin(), text.end(), 0);
  return text + "héllo, wörld\n";
}

TEST(ByteVocabularyTest, ATokenIsAByte) {
  const auto tokenizer = Make(300, std::nullopt, {});
  const std::string text = AllBytes();
  const std::vector<int32_t> ids = tokenizer->Encode(text, {});
  ASSERT_EQ(ids.size(), text.size());
  for (size_t i = 0; i < ids.size(); ++i) EXPECT_EQ(ids[i], static_cast<uint8_t>(text[i]));
  EXPECT_EQ(DecodeBytes(*tokenizer, ids, false), text);
}

TEST(ByteVocabularyTest, EveryIdHasText) {
  const auto tokenizer = Make(128256, 128000, {128001, 128008});
  EXPECT_EQ(tokenizer->vocabulary_size(), 128256);
  for (int32_t id = 0; id < 128256; ++id) ASSERT_FALSE(tokenizer->TokenBytes(id).empty()) << id;
  EXPECT_EQ(tokenizer->TokenBytes(1000), " 1000");
  EXPECT_EQ(tokenizer->TokenBytes(128255), " 128255");
  EXPECT_EQ(tokenizer->Encode(" 1000", {.add_special_tokens = false}).size(), 5u);
}

TEST(ByteVocabularyTest, BosAndEosAreSpecial) {
  const auto tokenizer = Make(1000, 900, {901, 902});
  const Vocabulary& vocabulary = tokenizer->vocabulary();
  EXPECT_EQ(vocabulary.eos, (std::vector<int32_t>{901, 902}));
  EXPECT_EQ(tokenizer->Encode("a", {}), (std::vector<int32_t>{900, 'a'}));
  for (int32_t id = 0; id < 1000; ++id) {
    EXPECT_EQ(tokenizer->IsSpecial(id), id >= 900 && id <= 902) << id;
  }
}

// Llama 2's ids: the bytes make room.
TEST(ByteVocabularyTest, BosAndEosAmongTheFirstIds) {
  const auto tokenizer = Make(32000, 1, {2});
  const std::string text = AllBytes();
  const std::vector<int32_t> ids = tokenizer->Encode(text, {.add_special_tokens = false});
  EXPECT_EQ(ids.size(), text.size());
  EXPECT_EQ(ids[0], 0);
  EXPECT_EQ(ids[1], 3);
  EXPECT_EQ(ids[255], 257);
  EXPECT_EQ(DecodeBytes(*tokenizer, ids, false), text);
  EXPECT_TRUE(tokenizer->IsSpecial(1));
  EXPECT_TRUE(tokenizer->IsSpecial(2));
}

TEST(ByteVocabularyTest, BosMayBeEos) {
  const auto tokenizer = Make(257, 256, {256, 256});
  EXPECT_EQ(tokenizer->Encode("a", {}), (std::vector<int32_t>{256, 'a'}));
  EXPECT_TRUE(tokenizer->IsSpecial(256));
}

TEST(ByteVocabularyTest, TheBytesMustFit) {
  Make(256, std::nullopt, {});
  Make(258, 0, {1});
  for (const auto& status : {MakeByteVocabulary(255, std::nullopt, {}).status(),
                             MakeByteVocabulary(257, 0, {1}).status()}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_NE(std::string(status.message()).find("leaves 255 beside bos and eos; 256 are needed"),
              std::string::npos)
        << status;
  }
}

}  // namespace
}  // namespace sieve
