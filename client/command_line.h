#ifndef SIEVE_CLIENT_COMMAND_LINE_H_
#define SIEVE_CLIENT_COMMAND_LINE_H_

#include <istream>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "client/bench/options.h"
#include "client/connection.h"
#include "client/new_key.h"
#include "sieve/v1/generation.pb.h"

namespace sieve {

// What the program was asked to do.
struct CommandLine {
  enum class Command {
    kHelp,
    kGenerate,
    kChat,
    kCompare,
    kTokenize,
    kDetokenize,
    kInfo,
    kHealth,
    kNewKey,
    kBench
  };
  Command command = Command::kHelp;
  std::string help;  // kHelp: the text to print

  ConnectionOptions connection;
  std::optional<absl::Duration> timeout;
  bool json = false;
  bool stats = false;

  v1::GenerateRequest generate;      // kGenerate, kCompare; kChat: all but the prompt
  bool together = false;             // kCompare
  std::string system;                // kChat: the system message, may be empty
  v1::TokenizeRequest tokenize;      // kTokenize
  v1::DetokenizeRequest detokenize;  // kDetokenize
  NewKeyOptions new_key;             // kNewKey
  BenchOptions bench;                // kBench
};

// `arguments` are without the program's name; `defaults` come from the environment. A prompt that
// is not among the arguments is read from `in` or from the file that they name. INVALID_ARGUMENT
// with a message for people.
absl::StatusOr<CommandLine> ParseCommandLine(absl::Span<const std::string> arguments,
                                             const ConnectionOptions& defaults, std::istream& in);

}  // namespace sieve

#endif  // SIEVE_CLIENT_COMMAND_LINE_H_
