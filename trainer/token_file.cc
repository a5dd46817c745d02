#include "trainer/token_file.h"

#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <memory>
#include <string_view>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/chat/chat_format.h"
#include "model/checkpoint/durable_file.h"
#include "model/checkpoint/sha256_stream.h"
#include "trainer/encoded_document.h"
#include "trainer/retrieval_documents.h"

namespace sieve {
namespace {

// The file: this header, document_ends, answers, tokens; little-endian.
struct Header {
  char magic[8] = {'S', 'I', 'E', 'V', 'E', 'T', 'K', '2'};
  char digest[64] = {};
  int64_t documents = 0;
  int64_t answers = 0;
  int64_t tokens = 0;
};

struct Content {
  std::vector<int64_t> ends;
  std::vector<TokenRange> answers;
  std::vector<int32_t> tokens;

  void Add(const EncodedDocument& document) {
    const int64_t begin = static_cast<int64_t>(tokens.size());
    tokens.insert(tokens.end(), document.tokens.begin(), document.tokens.end());
    ends.push_back(static_cast<int64_t>(tokens.size()));
    for (const TokenRange& answer : document.answers) {
      answers.push_back({begin + answer.begin, begin + answer.end});
    }
  }
};

template <typename T>
std::string_view Bytes(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

void AddVocabulary(const Vocabulary& vocabulary, Sha256Stream* stream) {
  stream->AddNumber(vocabulary.tokens.size());
  for (const Vocabulary::Token& token : vocabulary.tokens) stream->AddText(token.bytes);
  stream->AddNumber(vocabulary.merges.size());
  stream->AddNumber(static_cast<uint64_t>(vocabulary.pre_tokenizer));
  stream->AddNumber(vocabulary.add_bos ? *vocabulary.bos + 1 : 0);
  stream->AddText(vocabulary.chat_template);
}

void AddSource(const TextSource& source, Sha256Stream* stream) {
  stream->AddNumber(source.fields.size());
  for (const std::string& field : source.fields) stream->AddText(field);
  stream->AddNumber(static_cast<uint64_t>(source.format));
  stream->AddNumber(source.join);
  // Files of a version that encoded the empty line by itself are not taken.
  if (source.join > 1) stream->AddText("empty line before the next");
  const RetrievalOptions& retrieval = source.retrieval;
  for (const int64_t number : {retrieval.documents, retrieval.tokens}) stream->AddNumber(number);
  stream->AddNumber(retrieval.facts.size());
  for (const int64_t facts : retrieval.facts) stream->AddNumber(facts);
  stream->AddNumber(retrieval.seed);
}

absl::StatusOr<std::string> DigestOf(const std::vector<TextSource>& sources,
                                     const Vocabulary& vocabulary) {
  Sha256Stream stream;
  AddVocabulary(vocabulary, &stream);
  for (const TextSource& source : sources) {
    const absl::StatusOr<MappedFile> file = MappedFile::Open(source.path);
    if (!file.ok()) return file.status();
    stream.AddText(file->bytes());
    AddSource(source, &stream);
  }
  return stream.HexDigest();
}

absl::Status Write(const std::string& path, const std::string& digest, const Content& content) {
  Header header;
  std::memcpy(header.digest, digest.data(), sizeof(header.digest));
  header.documents = static_cast<int64_t>(content.ends.size());
  header.answers = static_cast<int64_t>(content.answers.size());
  header.tokens = static_cast<int64_t>(content.tokens.size());
  // Several processes may tokenise at once.
  const std::string partial = absl::StrCat(path, ".partial.", getpid());
  absl::StatusOr<DurableFile> file = DurableFile::Create(partial);
  if (!file.ok()) return file.status();
  absl::Status status = file->Append({reinterpret_cast<const char*>(&header), sizeof(header)});
  if (status.ok()) status = file->Append(Bytes(content.ends));
  if (status.ok()) status = file->Append(Bytes(content.answers));
  if (status.ok()) status = file->Append(Bytes(content.tokens));
  if (status.ok()) status = file->Finish();
  if (!status.ok()) return status;
  std::error_code error;
  std::filesystem::rename(partial, path, error);
  return error ? absl::UnknownError(absl::StrCat("renaming ", partial, ": ", error.message()))
               : absl::OkStatus();
}

absl::Status MakeOf(const TextSource& source, const Tokenizer& tokenizer, Content* content) {
  std::string text;
  const absl::Status status = ReadDocuments(source, [&text](const Document& document) {
    for (const Passage& passage : document.passages) absl::StrAppend(&text, passage.text);
    text += "\n\n";
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  const absl::Status made = MakeRetrievalDocuments(text, source.retrieval, tokenizer,
                                                   [content](const EncodedDocument& document) {
                                                     content->Add(document);
                                                     return absl::OkStatus();
                                                   });
  if (made.ok()) return made;
  return absl::Status(made.code(), absl::StrCat("made of ", source.path, ": ", made.message()));
}

absl::Status TokeniseSource(const TextSource& source, const Tokenizer& tokenizer,
                            Content* content) {
  if (source.retrieval.documents > 0) return MakeOf(source, tokenizer, content);
  const absl::StatusOr<std::unique_ptr<ChatFormat>> chat = ChatFormatFor(tokenizer);
  return ReadDocuments(source, [&](const Document& document) -> absl::Status {
    if (!document.turns.empty() && !chat.ok()) return chat.status();
    const EncodedDocument encoded =
        EncodeDocument(document, tokenizer, chat.ok() ? chat->get() : nullptr);
    content->Add(encoded);
    return absl::OkStatus();
  });
}

}  // namespace

absl::StatusOr<TokenFile> TokenFile::Open(const std::string& path) {
  absl::StatusOr<MappedFile> mapped = MappedFile::Open(path);
  if (!mapped.ok()) return mapped.status();
  TokenFile file(*std::move(mapped));
  const std::string_view bytes = file.file_.bytes();
  Header header;
  const Header expected;
  const bool whole = bytes.size() >= sizeof(header);
  if (whole) std::memcpy(&header, bytes.data(), sizeof(header));
  const int64_t most = static_cast<int64_t>(bytes.size());
  if (!whole || std::memcmp(header.magic, expected.magic, sizeof(header.magic)) != 0 ||
      header.documents < 0 || header.documents > most || header.answers < 0 ||
      header.answers > most || header.tokens < 0 || header.tokens > most ||
      bytes.size() != sizeof(header) + header.documents * sizeof(int64_t) +
                          header.answers * sizeof(TokenRange) + header.tokens * sizeof(int32_t)) {
    return absl::InvalidArgumentError(absl::StrCat(path, " is no whole file of tokens"));
  }
  file.digest_.assign(header.digest, sizeof(header.digest));
  const char* data = bytes.data() + sizeof(header);
  file.ends_ = {reinterpret_cast<const int64_t*>(data), static_cast<size_t>(header.documents)};
  data += header.documents * sizeof(int64_t);
  file.answers_ = {reinterpret_cast<const TokenRange*>(data), static_cast<size_t>(header.answers)};
  data += header.answers * sizeof(TokenRange);
  file.tokens_ = {reinterpret_cast<const int32_t*>(data), static_cast<size_t>(header.tokens)};
  return file;
}

absl::StatusOr<TokenFile> TokeniseOnce(const std::vector<TextSource>& sources,
                                       const Tokenizer& tokenizer, const std::string& folder) {
  const absl::StatusOr<std::string> digest = DigestOf(sources, tokenizer.vocabulary());
  if (!digest.ok()) return digest.status();
  const std::string path = absl::StrCat(folder, "/", digest->substr(0, 16), ".tokens");
  absl::StatusOr<TokenFile> kept = TokenFile::Open(path);
  if (kept.ok() && kept->digest() == *digest) return kept;

  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return absl::UnknownError(absl::StrCat("making ", folder, ": ", error.message()));
  Content content;
  for (const TextSource& source : sources) {
    const absl::Status status = TokeniseSource(source, tokenizer, &content);
    if (!status.ok()) return status;
  }
  const absl::Status written = Write(path, *digest, content);
  if (!written.ok()) return written;
  return TokenFile::Open(path);
}

}  // namespace sieve
