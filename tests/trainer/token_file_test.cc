#include "trainer/token_file.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "model/checkpoint/checkpoint.h"
#include "tests/testdata/tiny_llama.h"

namespace sieve {
namespace {

class TokenFileTest : public testing::Test {
 protected:
  TokenFileTest() : folder_(testing::TempDir() + "/corpus") {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    const std::string model = folder_ + "/model";
    EXPECT_TRUE(WriteTinyHfFolder(model, {}).ok());
    const auto checkpoint = OpenCheckpoint(model);
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
    tokenizer_ = *Tokenizer::Create((*checkpoint)->vocabulary());
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

  std::vector<std::string> Documents(const TextSource& source) {
    std::vector<std::string> documents;
    const absl::Status status = ReadDocuments(source, [&](const std::string& document) {
      documents.push_back(document);
      return absl::OkStatus();
    });
    EXPECT_TRUE(status.ok()) << status;
    return documents;
  }

  absl::Status Fails(const TextSource& source) {
    return ReadDocuments(source, [](const std::string&) { return absl::OkStatus(); });
  }

  const std::string folder_;
  std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_F(TokenFileTest, DocumentsOfEveryForm) {
  using Texts = std::vector<std::string>;
  const std::string lines = "{\"a\": \"x\", \"b\": \"y\"}\n\n{\"a\": \"z\", \"b\": \"\\n\"}";
  EXPECT_EQ(Documents({Write("plain.txt", "two\nlines"), {}}), Texts({"two\nlines"}));
  EXPECT_EQ(Documents({WriteGzip("plain.gz", "two\nlines"), {}}), Texts({"two\nlines"}));
  EXPECT_EQ(Documents({Write("a.jsonl", lines), {"a"}}), Texts({"x", "z"}));
  EXPECT_EQ(Documents({WriteGzip("ab.gz", lines), {"a", "b"}}), Texts({"x\n\ny", "z\n\n\n"}));
  // Longer than a read.
  const std::string longer(3 << 20, 'w');
  EXPECT_EQ(Documents({WriteGzip("long.gz", longer), {}}), Texts({longer}));
  EXPECT_EQ(Documents({Write("long.jsonl", "{\"a\": \"" + longer + "\"}\n"), {"a"}}),
            Texts({longer}));
}

TEST_F(TokenFileTest, WhatIsMalformedIsNamed) {
  EXPECT_EQ(Fails({folder_ + "/none", {}}).code(), absl::StatusCode::kNotFound);
  const absl::Status json = Fails({Write("bad.jsonl", "{\"a\": \"x\"}\n{\n"), {"a"}});
  EXPECT_EQ(json.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(absl::StrContains(json.message(), "bad.jsonl, line 2"));
  EXPECT_EQ(Fails({Write("c.jsonl", "{\"a\": 1}"), {"a"}}).code(),
            absl::StatusCode::kInvalidArgument);
  std::string whole(100000, 'a');
  for (size_t i = 0; i < whole.size(); ++i) whole[i] = static_cast<char>(i * i % 251);
  const std::string path = WriteGzip("cut.gz", whole);
  std::filesystem::resize_file(path, std::filesystem::file_size(path) / 2);
  EXPECT_EQ(Fails({path, {}}).code(), absl::StatusCode::kDataLoss);
}

TEST_F(TokenFileTest, IsMadeOnceAndHasTheDocuments) {
  const std::vector<TextSource> sources = {{Write("a.txt", "abc"), {}},
                                           {Write("b.jsonl", "{\"t\": \"de\"}\n"), {"t"}}};
  const auto first = TokeniseOnce(sources, *tokenizer_, folder_ + "/tokens");
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(std::vector<int32_t>(first->tokens().begin(), first->tokens().end()),
            std::vector<int32_t>({'a', 'b', 'c', 'd', 'e'}));
  EXPECT_EQ(std::vector<int64_t>(first->document_ends().begin(), first->document_ends().end()),
            std::vector<int64_t>({3, 5}));
  const auto again = TokeniseOnce(sources, *tokenizer_, folder_ + "/tokens");
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->digest(), first->digest());
  Write("a.txt", "abd");
  const auto changed = TokeniseOnce(sources, *tokenizer_, folder_ + "/tokens");
  ASSERT_TRUE(changed.ok());
  EXPECT_NE(changed->digest(), first->digest());
}

TEST_F(TokenFileTest, ATruncatedFileIsMadeAgain) {
  const std::vector<TextSource> sources = {{Write("a.txt", "abc"), {}}};
  const auto first = TokeniseOnce(sources, *tokenizer_, folder_ + "/tokens");
  ASSERT_TRUE(first.ok());
  const std::string path = folder_ + "/tokens/" + first->digest().substr(0, 16) + ".tokens";
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 1);
  EXPECT_EQ(TokenFile::Open(path).status().code(), absl::StatusCode::kInvalidArgument);
  const auto again = TokeniseOnce(sources, *tokenizer_, folder_ + "/tokens");
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->tokens().size(), 3);
}

}  // namespace
}  // namespace sieve
