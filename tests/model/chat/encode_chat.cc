// Prints the prompts of conversations for the parity test.
//
//   encode_chat VOCABULARY CONVERSATIONS
//
// CONVERSATIONS has on each line a JSON list of [role, content]. Stdout gets for each a JSON list
// of token ids.

#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "model/chat/chat_format.h"
#include "tests/model/tokenizer/vocabulary_file.h"

namespace sieve {
namespace {

ChatRole Role(const std::string& name) {
  if (name == "system") return ChatRole::kSystem;
  return name == "user" ? ChatRole::kUser : ChatRole::kAssistant;
}

int Main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: encode_chat VOCABULARY CONVERSATIONS\n";
    return 2;
  }
  auto vocabulary = ReadVocabularyFile(argv[1]);
  if (!vocabulary.ok()) {
    std::cerr << vocabulary.status() << "\n";
    return 1;
  }
  const auto tokenizer = Tokenizer::Create(*std::move(vocabulary));
  if (!tokenizer.ok()) {
    std::cerr << tokenizer.status() << "\n";
    return 1;
  }
  const auto format = ChatFormatFor(**tokenizer);
  if (!format.ok()) {
    std::cerr << format.status() << "\n";
    return 1;
  }
  std::ifstream file(argv[2]);
  for (std::string line; std::getline(file, line);) {
    std::vector<ChatTurn> turns;
    for (const auto& turn : nlohmann::json::parse(line)) turns.push_back({Role(turn[0]), turn[1]});
    std::cout << nlohmann::json((*format)->Encode(**tokenizer, turns)).dump() << "\n";
  }
  return 0;
}

}  // namespace
}  // namespace sieve

int main(int argc, char** argv) { return sieve::Main(argc, argv); }
