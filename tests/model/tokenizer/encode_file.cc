// Encodes texts for the parity test and the benchmark: tokenizers live in C++ here and in Python
// there.
//
//   encode_file VOCABULARY TEXTS IDS [parse_special] [passes]
//
// TEXTS is a sequence of records: length in bytes (uint32, little-endian), then the bytes. IDS
// receives for each a count (uint32) and that many ids (int32). Stdout: one line with the fastest
// of `passes` (default 1) over all texts, in seconds.

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include "model/tokenizer/tokenizer.h"
#include "tests/model/tokenizer/vocabulary_file.h"

namespace sieve {
namespace {

std::vector<std::string> ReadRecords(const char* path) {
  std::ifstream file(path, std::ios::binary);
  std::vector<std::string> records;
  uint32_t length = 0;
  while (file.read(reinterpret_cast<char*>(&length), sizeof(length))) {
    std::string record(length, '\0');
    if (!file.read(record.data(), length)) {
      std::cerr << path << ": the last record is cut off\n";
      std::exit(1);
    }
    records.push_back(std::move(record));
  }
  return records;
}

void WriteRecords(const char* path, const std::vector<std::vector<int32_t>>& records) {
  std::ofstream file(path, std::ios::binary);
  for (const std::vector<int32_t>& ids : records) {
    const uint32_t count = ids.size();
    file.write(reinterpret_cast<const char*>(&count), sizeof(count));
    file.write(reinterpret_cast<const char*>(ids.data()), count * sizeof(int32_t));
  }
}

int Main(int argc, char** argv) {
  if (argc < 4 || argc > 6) {
    std::cerr << "usage: encode_file VOCABULARY TEXTS IDS [parse_special 0|1] [passes]\n";
    return 2;
  }
  absl::StatusOr<Vocabulary> vocabulary = ReadVocabularyFile(argv[1]);
  if (!vocabulary.ok()) {
    std::cerr << vocabulary.status() << "\n";
    return 1;
  }
  const auto tokenizer = Tokenizer::Create(*std::move(vocabulary));
  if (!tokenizer.ok()) {
    std::cerr << tokenizer.status() << "\n";
    return 1;
  }
  const EncodeOptions options = {.add_special_tokens = false,
                                 .parse_special_tokens = argc > 4 && std::atoi(argv[4]) != 0};
  const int passes = argc > 5 ? std::atoi(argv[5]) : 1;
  const std::vector<std::string> texts = ReadRecords(argv[2]);
  std::vector<std::vector<int32_t>> ids;
  double fastest = 1e30;
  for (int pass = 0; pass < passes; ++pass) {
    ids.clear();
    const std::clock_t start = std::clock();
    for (const std::string& text : texts) ids.push_back((*tokenizer)->Encode(text, options));
    fastest = std::min(fastest, static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC);
  }
  WriteRecords(argv[3], ids);
  std::cout << fastest << "\n";
  return 0;
}

}  // namespace
}  // namespace sieve

int main(int argc, char** argv) { return sieve::Main(argc, argv); }
