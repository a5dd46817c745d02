#ifndef SIEVE_CLIENT_COMMAND_LINE_H_
#define SIEVE_CLIENT_COMMAND_LINE_H_

#include <istream>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "sieve/v1/generation.pb.h"

namespace sieve {

// What the program was asked to do.
struct CommandLine {
  enum class Command { kHelp, kGenerate, kChat, kTokenize, kDetokenize, kInfo, kHealth };
  Command command = Command::kHelp;
  std::string help;  // kHelp: the text to print

  std::string address;
  std::optional<absl::Duration> timeout;
  bool json = false;
  bool stats = false;

  v1::GenerateRequest generate;      // kGenerate; kChat: all but the prompt
  std::string system;                // kChat: the system message, may be empty
  v1::TokenizeRequest tokenize;      // kTokenize
  v1::DetokenizeRequest detokenize;  // kDetokenize
};

// `arguments` are without the program's name. A prompt that is not among them is read from `in` or
// from the file that they name. INVALID_ARGUMENT with a message for people.
absl::StatusOr<CommandLine> ParseCommandLine(absl::Span<const std::string> arguments,
                                             const std::string& default_address, std::istream& in);

}  // namespace sieve

#endif  // SIEVE_CLIENT_COMMAND_LINE_H_
