#include "client/command_line.h"

#include <fstream>
#include <iterator>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/bench/bench_flags.h"
#include "client/flags.h"
#include "client/request.h"

namespace sieve {
namespace {

using Command = CommandLine::Command;

constexpr char kOverview[] = R"(Usage: sieve COMMAND [flags] [TEXT]

  generate    answer one prompt: TEXT, --prompt, --prompt_file, --token_ids, or standard input
  chat        a conversation, one line a turn
  compare     the same, answered by the bare model and by --adapter, with their speeds and cache reads
  tokenize    text to token ids
  detokenize  token ids to text
  info        the served model and how busy the server is; --health for its health
  bench       loads the server and measures it: latencies, throughput, goodput
  admin       for operators: `admin new-key` makes an API key

`sieve COMMAND --help` lists a command's flags. The server's address is --address, or the environment
variable SIEVE_ADDRESS; an API key is in the file --api_key_file, or in SIEVE_API_KEY.

Generated text goes to standard output, everything else to standard error. Exit status: 0 done, 1 refused or
failed by the server, 2 wrong usage, 3 no server, 4 out of time, 5 the server is full, 130 interrupted.
)";

// Where a prompt comes from and how it is meant.
struct PromptFlags {
  std::optional<std::string> text, file;
  std::vector<int32_t> token_ids;
  bool chat = false;
  std::optional<std::string> system;
  bool parse_special_tokens = false;
  bool bos = true;
};

absl::Status Wrong(absl::string_view message) { return absl::InvalidArgumentError(message); }

void AddPromptFlags(FlagSet* flags, PromptFlags* prompt) {
  flags->Add("prompt", "the text", &prompt->text);
  flags->Add("prompt_file", "a file with the text; - for standard input", &prompt->file);
  flags->Add("chat", "the text is a user's message, not a plain prompt", &prompt->chat);
  flags->Add("system", "the system message before it (implies --chat)", &prompt->system);
  flags->Add("parse_special_tokens", "special tokens' names in the text become those tokens",
             &prompt->parse_special_tokens);
  flags->Add("bos", "--nobos: no beginning-of-sequence token", &prompt->bos);
}

void AddNewKeyFlags(FlagSet* flags, NewKeyOptions* options) {
  flags->Add("tenant", "whose key it is", &options->tenant);
  flags->Add("weight", "the tenant's share of the server, default 1", &options->weight);
  flags->Add("note", "for the reader of the file", &options->note);
}

absl::StatusOr<std::string> ReadAll(std::istream& in, const std::string& name) {
  std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  if (in.bad()) return Wrong(absl::StrCat("cannot read ", name));
  return text;
}

// The one source that was given, else standard input.
absl::StatusOr<std::string> ReadPrompt(const PromptFlags& prompt,
                                       const std::vector<std::string>& positional,
                                       std::istream& in) {
  if (positional.size() > 1) {
    return Wrong(absl::StrCat("one TEXT expected, also got \"", positional[1],
                              "\": put text with spaces in quotes"));
  }
  if (positional.size() + prompt.text.has_value() + prompt.file.has_value() > 1) {
    return Wrong("more than one of TEXT, --prompt, --prompt_file");
  }
  if (!positional.empty()) return positional[0];
  if (prompt.text) return *prompt.text;
  if (!prompt.file || *prompt.file == "-") return ReadAll(in, "standard input");
  std::ifstream file(*prompt.file, std::ios::binary);
  if (!file) return Wrong(absl::StrCat("cannot open ", *prompt.file));
  return ReadAll(file, *prompt.file);
}

// Fills the `chat` or the `text` of a GenerateRequest or TokenizeRequest.
template <typename Request>
absl::Status SetPrompt(const PromptFlags& prompt, std::string text, Request* request) {
  if (prompt.chat || prompt.system) {
    if (prompt.system) {
      AddMessage(v1::ChatMessage::ROLE_SYSTEM, *prompt.system, request->mutable_chat());
    }
    AddMessage(v1::ChatMessage::ROLE_USER, std::move(text), request->mutable_chat());
    return CheckUtf8(request->chat());
  }
  request->mutable_text()->set_text(std::move(text));
  if (prompt.parse_special_tokens) request->mutable_text()->set_parse_special_tokens(true);
  if (!prompt.bos) request->mutable_text()->set_add_special_tokens(false);
  return absl::OkStatus();
}

absl::Status FinishGenerate(const PromptFlags& prompt, const RequestOptions& options,
                            const std::vector<std::string>& positional, std::istream& in,
                            CommandLine* line) {
  line->generate = MakeRequest(options);
  if (prompt.token_ids.empty()) {
    absl::StatusOr<std::string> text = ReadPrompt(prompt, positional, in);
    if (!text.ok()) return text.status();
    const absl::Status status = SetPrompt(prompt, *std::move(text), &line->generate);
    if (!status.ok()) return status;
  } else {
    if (!positional.empty() || prompt.text || prompt.file || prompt.chat || prompt.system) {
      return Wrong("--token_ids stands alone: no text goes with it");
    }
    line->generate.mutable_token_ids()->mutable_ids()->Add(prompt.token_ids.begin(),
                                                           prompt.token_ids.end());
  }
  return CheckUtf8(line->generate);
}

absl::Status FinishChat(const RequestOptions& options, const PromptFlags& prompt,
                        CommandLine* line) {
  if (options.num_samples.value_or(1) != 1) return Wrong("a chat has one sample: leave out --n");
  line->generate = MakeRequest(options);
  line->system = prompt.system.value_or("");
  return CheckUtf8(line->generate);
}

absl::Status FinishCompare(const PromptFlags& prompt, const RequestOptions& options,
                           const std::vector<std::string>& positional, std::istream& in,
                           CommandLine* line) {
  if (!options.adapter || options.adapter->empty()) {
    return Wrong("compare needs --adapter NAME, of those that `sieve info` lists");
  }
  if (options.num_samples.value_or(1) != 1) return Wrong("compare has one sample: leave out --n");
  if (options.logprobs) return Wrong("compare shows no log-probabilities: leave out --logprobs");
  return FinishGenerate(prompt, options, positional, in, line);
}

absl::Status FinishTokenize(const PromptFlags& prompt, const std::vector<std::string>& positional,
                            std::istream& in, CommandLine* line) {
  absl::StatusOr<std::string> text = ReadPrompt(prompt, positional, in);
  if (!text.ok()) return text.status();
  return SetPrompt(prompt, *std::move(text), &line->tokenize);
}

absl::Status FinishDetokenize(const PromptFlags& prompt, const std::vector<std::string>& positional,
                              CommandLine* line) {
  std::vector<int32_t> ids = prompt.token_ids;
  for (const std::string& text : positional) {
    if (absl::Status status = ParseFlagValue(text, &ids); !status.ok()) return status;
  }
  line->detokenize.mutable_token_ids()->Add(ids.begin(), ids.end());
  return absl::OkStatus();
}

absl::Status FinishAdmin(const std::vector<std::string>& positional, const CommandLine& line) {
  if (positional != std::vector<std::string>{"new-key"}) {
    return Wrong("admin has one command, new-key: sieve admin new-key --tenant NAME");
  }
  return CheckNewKeyOptions(line.new_key);
}

absl::Status FinishBench(CommandLine* line) {
  if (line->connection.tenant && !line->bench.tenants.names.empty()) {
    return Wrong("--tenant or --tenants, not both");
  }
  line->bench.timeout = line->timeout;
  return CheckBenchOptions(line->bench);
}

std::optional<Command> CommandOf(absl::string_view name) {
  if (name == "generate") return Command::kGenerate;
  if (name == "chat") return Command::kChat;
  if (name == "compare") return Command::kCompare;
  if (name == "tokenize") return Command::kTokenize;
  if (name == "detokenize") return Command::kDetokenize;
  if (name == "info") return Command::kInfo;
  if (name == "admin") return Command::kNewKey;
  if (name == "bench") return Command::kBench;
  return std::nullopt;
}

}  // namespace

absl::StatusOr<CommandLine> ParseCommandLine(absl::Span<const std::string> arguments,
                                             const ConnectionOptions& defaults, std::istream& in) {
  CommandLine line;
  line.help = kOverview;
  if (arguments.empty()) return Wrong(absl::StrCat("no command given\n\n", kOverview));
  if (arguments[0] == "help" || arguments[0] == "--help" || arguments[0] == "-h") return line;
  const std::optional<Command> command = CommandOf(arguments[0]);
  if (!command) return Wrong(absl::StrCat("unknown command ", arguments[0], "\n\n", kOverview));

  PromptFlags prompt;
  RequestOptions options;
  bool help = false, health = false, include_special_tokens = false;
  line.connection = defaults;
  FlagSet flags;
  if (command == Command::kNewKey) {
    AddNewKeyFlags(&flags, &line.new_key);
  } else {
    flags.Add("address", absl::StrCat("of the server, default ", defaults.address),
              &line.connection.address);
    flags.Add("timeout", "for each call, such as 10s", &line.timeout);
    flags.Add("stats", "timings on standard error", &line.stats);
    AddConnectionFlags(&flags, &line.connection);
  }
  flags.Add("json", "one JSON object a line", &line.json);
  flags.Add("help", "this text", &help);
  const bool answers = command == Command::kGenerate || command == Command::kCompare;
  if (answers || command == Command::kTokenize) {
    AddPromptFlags(&flags, &prompt);
  }
  if (answers || command == Command::kDetokenize) {
    flags.Add("token_ids", "between commas", &prompt.token_ids);
  }
  if (command == Command::kChat) flags.Add("system", "the system message", &prompt.system);
  if (answers || command == Command::kChat) AddRequestFlags(&flags, &options);
  if (command == Command::kCompare) {
    flags.Add("together", "both answers at once, which share the server's steps: no speeds",
              &line.together);
  }
  if (command == Command::kDetokenize) {
    flags.Add("include_special_tokens", "special tokens by name", &include_special_tokens);
  }
  if (command == Command::kBench) AddBenchFlags(&flags, &line.bench);
  if (command == Command::kInfo) flags.Add("health", "only ask for the health", &health);

  std::vector<std::string> positional;
  if (absl::Status status = flags.Parse(arguments.subspan(1), &positional); !status.ok()) {
    return status;
  }
  if (help) {
    line.help = absl::StrCat("Flags of sieve ", arguments[0], ":\n", flags.Help());
    return line;
  }
  line.command = health ? Command::kHealth : *command;
  absl::Status status;
  switch (*command) {
    case Command::kGenerate:
      status = FinishGenerate(prompt, options, positional, in, &line);
      break;
    case Command::kCompare:
      status = FinishCompare(prompt, options, positional, in, &line);
      break;
    case Command::kTokenize:
      status = FinishTokenize(prompt, positional, in, &line);
      break;
    case Command::kDetokenize:
      status = FinishDetokenize(prompt, positional, &line);
      if (include_special_tokens) line.detokenize.set_include_special_tokens(true);
      break;
    case Command::kNewKey:
      status = FinishAdmin(positional, line);
      break;
    default:
      if (!positional.empty()) {
        return Wrong(absl::StrCat(arguments[0], " takes no argument: ", positional[0]));
      }
      if (command == Command::kChat) status = FinishChat(options, prompt, &line);
      if (command == Command::kBench) status = FinishBench(&line);
  }
  if (!status.ok()) return status;
  return line;
}

}  // namespace sieve
