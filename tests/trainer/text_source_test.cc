#include "trainer/text_source.h"

#include <gtest/gtest.h>
#include <zlib.h>
#include <zstd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/match.h"

namespace sieve {
namespace {

class TextSourceTest : public testing::Test {
 protected:
  TextSourceTest() : folder_(testing::TempDir() + "/texts") {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }

  std::string Write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ + "/" + name, std::ios::binary) << text;
    return folder_ + "/" + name;
  }

  std::string WriteGzip(const std::string& name, const std::string& text) {
    const std::string path = folder_ + "/" + name;
    gzFile file = gzopen(path.c_str(), "wb");
    EXPECT_EQ(gzwrite(file, text.data(), text.size()), static_cast<int>(text.size()));
    EXPECT_EQ(gzclose(file), Z_OK);
    return path;
  }

  static std::string Zstd(const std::string& text) {
    std::string packed(ZSTD_compressBound(text.size()), '\0');
    packed.resize(ZSTD_compress(packed.data(), packed.size(), text.data(), text.size(), 3));
    return packed;
  }

  // Each document's text, answers in brackets; turns as "role: content;".
  std::vector<std::string> Documents(const TextSource& source) {
    std::vector<std::string> documents;
    const absl::Status status = ReadDocuments(source, [&](const Document& document) {
      std::string text;
      for (const Passage& passage : document.passages) {
        text += passage.is_answer ? "[" + passage.text + "]" : passage.text;
      }
      for (const ChatTurn& turn : document.turns) {
        const char* roles[] = {"system", "user", "assistant"};
        text += std::string(roles[static_cast<int>(turn.role)]) + ": " + turn.content + ";";
      }
      documents.push_back(text);
      return absl::OkStatus();
    });
    EXPECT_TRUE(status.ok()) << status;
    return documents;
  }

  absl::Status Fails(const TextSource& source) {
    return ReadDocuments(source, [](const Document&) { return absl::OkStatus(); });
  }

  const std::string folder_;
};

using Texts = std::vector<std::string>;

TextSource Lines(const std::string& path, const std::vector<std::string>& fields) {
  return {.path = path, .fields = fields, .format = TextFormat::kLines};
}

TEST_F(TextSourceTest, TextAndLinesOfAnyCompression) {
  const std::string lines = "{\"a\": \"x\", \"b\": \"y\"}\n\n{\"a\": \"z\", \"b\": \"\\n\"}";
  EXPECT_EQ(Documents({.path = Write("plain.txt", "two\nlines")}), Texts({"two\nlines"}));
  EXPECT_EQ(Documents({.path = WriteGzip("plain.gz", "two\nlines")}), Texts({"two\nlines"}));
  EXPECT_EQ(Documents({.path = Write("plain.zst", Zstd("two\nlines"))}), Texts({"two\nlines"}));
  EXPECT_EQ(Documents({.path = Write("empty", "")}), Texts({""}));
  EXPECT_EQ(Documents({.path = Write("empty.zst", Zstd(""))}), Texts({""}));
  EXPECT_EQ(Documents(Lines(Write("a.jsonl", lines), {"a"})), Texts({"x", "z"}));
  EXPECT_EQ(Documents(Lines(WriteGzip("ab.gz", lines), {"a", "b"})), Texts({"x\n\ny", "z\n\n\n"}));
  // The content says how it is compressed, not the name; frames may follow each other.
  EXPECT_EQ(Documents(Lines(Write("ab.gz", Zstd(lines) + Zstd("\n" + lines)), {"a"})),
            Texts({"x", "z", "x", "z"}));
}

TEST_F(TextSourceTest, LongerThanARead) {
  for (const size_t size : {(1u << 20) - 1, 1u << 20, (1u << 20) + 1, 3u << 20}) {
    const std::string longer(size, 'w');
    EXPECT_EQ(Documents({.path = WriteGzip("long.gz", longer)}), Texts({longer})) << size;
    EXPECT_EQ(Documents({.path = Write("long.zst", Zstd(longer))}), Texts({longer})) << size;
    EXPECT_EQ(Documents(Lines(Write("long.jsonl", "{\"a\": \"" + longer + "\"}\n"), {"a"})),
              Texts({longer}))
        << size;
  }
}

TEST_F(TextSourceTest, Gsm8kMarksTheAnswerAndDocumentsAreJoined) {
  TextSource source = {.path = Write("q.jsonl",
                                     "{\"question\": \"1?\", \"answer\": \"one\\n#### 1\"}\n"
                                     "{\"question\": \"2?\", \"answer\": \"#### 2\"}\n"
                                     "{\"question\": \"3?\", \"answer\": \"#### 3\"}\n"),
                       .format = TextFormat::kGsm8k};
  EXPECT_EQ(Documents(source),
            Texts({"Question: 1?\nAnswer:[ one\n#### 1]", "Question: 2?\nAnswer:[ #### 2]",
                   "Question: 3?\nAnswer:[ #### 3]"}));
  source.join = 2;
  EXPECT_EQ(Documents(source),
            Texts({"Question: 1?\nAnswer:[ one\n#### 1]\n\nQuestion: 2?\nAnswer:[ #### 2]",
                   "Question: 3?\nAnswer:[ #### 3]"}));
}

// Each passage is encoded by itself: an empty line at the end of one is other tokens than before
// a word.
TEST_F(TextSourceTest, AnEmptyLineIsEncodedWithWhatFollows) {
  const TextSource source = {.path = Write("q.jsonl",
                                           "{\"question\": \"1?\", \"answer\": \"#### 1\"}\n"
                                           "{\"question\": \"2?\", \"answer\": \"#### 2\"}\n"),
                             .format = TextFormat::kGsm8k,
                             .join = 2};
  Texts passages;
  const absl::Status status = ReadDocuments(source, [&](const Document& document) {
    for (const Passage& passage : document.passages) passages.push_back(passage.text);
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(passages,
            Texts({"Question: 1?\nAnswer:", " #### 1", "\n\nQuestion: 2?\nAnswer:", " #### 2"}));
}

TEST_F(TextSourceTest, ChatsAreMessagesOrFields) {
  const TextSource source = {
      .path =
          Write("chat.jsonl",
                "{\"instruction\": \"i\", \"input\": \"\", \"response\": \"r\"}\n"
                "{\"instruction\": \"i\", \"input\": \"j\", \"response\": \"\"}\n"
                "{\"instruction\": \"i\", \"response\": \"r\"}\n"
                "{\"messages\": [{\"role\": \"system\", \"content\": \"s\"}, {\"role\": \"user\", "
                "\"content\": \"u\"}, {\"role\": \"assistant\", \"content\": \"a\"}]}\n"),
      .fields = {"instruction", "input", "response"},
      .format = TextFormat::kChat,
      .join = 9};
  EXPECT_EQ(Documents(source), Texts({"user: i;assistant: r;", "user: i\n\nj;assistant: ;",
                                      "user: i;assistant: r;", "system: s;user: u;assistant: a;"}));
}

TEST_F(TextSourceTest, WhatIsMalformedIsNamed) {
  EXPECT_EQ(Fails({.path = folder_ + "/none"}).code(), absl::StatusCode::kNotFound);
  const struct {
    const char* line;
    TextFormat format;
    const char* part;
  } cases[] = {
      {"{", TextFormat::kLines, "JSON"},
      {"[1]", TextFormat::kLines, "JSON"},
      {"{\"b\": 1}", TextFormat::kLines, "\"b\""},
      {"{\"question\": \"a\"}", TextFormat::kGsm8k, "\"answer\""},
      {"{\"answer\": \"a\"}", TextFormat::kGsm8k, "\"question\""},
      {"{\"b\": \"x\"}", TextFormat::kChat, "\"c\""},
      {"{\"c\": \"x\"}", TextFormat::kChat, "\"b\""},
      {"{\"messages\": []}", TextFormat::kChat, "messages"},
      {"{\"messages\": \"x\"}", TextFormat::kChat, "messages"},
      {"{\"messages\": [1]}", TextFormat::kChat, "message"},
      {"{\"messages\": [{\"role\": \"tool\", \"content\": \"\"}]}", TextFormat::kChat, "tool"},
      {"{\"messages\": [{\"role\": \"user\"}]}", TextFormat::kChat, "content"},
  };
  const std::string good = "{\"b\": \"x\", \"c\": \"y\", \"question\": \"q\", \"answer\": \"a\"}\n";
  for (const auto& c : cases) {
    const absl::Status status = Fails(
        {.path = Write("bad.jsonl", good + c.line), .fields = {"b", "c"}, .format = c.format});
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.line;
    EXPECT_TRUE(absl::StrContains(status.message(), "bad.jsonl, line 2")) << status;
    EXPECT_TRUE(absl::StrContains(status.message(), c.part)) << status;
  }
}

TEST_F(TextSourceTest, TruncatedFilesAreRefused) {
  std::string whole(3 << 20, 'a');
  for (size_t i = 0; i < whole.size(); ++i) whole[i] = static_cast<char>(i * i % 251);
  for (const std::string& path : {WriteGzip("cut.gz", whole), Write("cut.zst", Zstd(whole))}) {
    std::filesystem::resize_file(path, std::filesystem::file_size(path) / 2);
    EXPECT_EQ(Fails({.path = path}).code(), absl::StatusCode::kDataLoss) << path;
  }
  std::string damaged = Zstd(whole);
  damaged[damaged.size() / 3] ^= 0x55;
  damaged[damaged.size() / 3 + 1] ^= 0x55;
  EXPECT_EQ(Fails({.path = Write("damaged.zst", damaged + "tail")}).code(),
            absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace sieve
