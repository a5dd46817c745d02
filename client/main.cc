// The command line of Sieve. `sieve --help` says what it does.

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "client/bench/bench.h"
#include "client/chat.h"
#include "client/command_line.h"
#include "client/compare.h"
#include "client/connection.h"
#include "client/exit_code.h"
#include "client/generate.h"
#include "client/info.h"
#include "client/interrupt.h"
#include "client/new_key.h"
#include "client/session.h"
#include "client/tokenize.h"

namespace sieve {
namespace {

constexpr char kDefaultAddress[] = "127.0.0.1:50051";

absl::StatusOr<std::shared_ptr<grpc::Channel>> MakeChannel(const CommandLine& line,
                                                           grpc::ChannelArguments arguments = {}) {
  arguments.SetMaxReceiveMessageSize(-1);
  return OpenChannel(line.connection, arguments);
}

// Every one has a connection of its own, and what is refused counts: it is not tried again.
absl::StatusOr<std::unique_ptr<v1::Generation::StubInterface>> MakeBenchStub(
    const CommandLine& line) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  const absl::StatusOr<std::shared_ptr<grpc::Channel>> channel = MakeChannel(line, arguments);
  if (!channel.ok()) return channel.status();
  return v1::Generation::NewStub(*channel);
}

// What the environment says.
ConnectionOptions DefaultConnection() {
  ConnectionOptions connection;
  const char* address = std::getenv("SIEVE_ADDRESS");
  connection.address = address == nullptr ? kDefaultAddress : address;
  if (const char* key = std::getenv("SIEVE_API_KEY"); key != nullptr) connection.api_key = key;
  return connection;
}

// Absent where standard output is no terminal.
std::optional<TerminalSize> OutputTerminal() {
  winsize size = {};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return std::nullopt;
  return TerminalSize{.columns = size.ws_col, .rows = size.ws_row};
}

ExitCode WrongUsage(const absl::Status& status) {
  std::cerr << "sieve: " << status.message() << std::endl;
  return ExitCode::kUsage;
}

ExitCode Run(const CommandLine& line, const Session& session) {
  switch (line.command) {
    case CommandLine::Command::kHelp:
    case CommandLine::Command::kNewKey:
      break;  // answered without a session
    case CommandLine::Command::kGenerate:
      return RunGenerate(session, line.generate);
    case CommandLine::Command::kChat:
      return RunChat(session, line.generate, line.system, isatty(STDIN_FILENO));
    case CommandLine::Command::kCompare:
      return RunCompare(session, line.generate,
                        {.together = line.together, .terminal = OutputTerminal()});
    case CommandLine::Command::kTokenize:
      return RunTokenize(session, line.tokenize);
    case CommandLine::Command::kDetokenize:
      return RunDetokenize(session, line.detokenize);
    case CommandLine::Command::kInfo:
      return RunInfo(session);
    case CommandLine::Command::kHealth:
      return RunHealth(session);
    case CommandLine::Command::kBench:
      return RunBench(session, line.bench, [&line] { return MakeBenchStub(line); });
  }
  return ExitCode::kUsage;
}

ExitCode Main(const std::vector<std::string>& arguments) {
  const absl::StatusOr<CommandLine> line =
      ParseCommandLine(arguments, DefaultConnection(), std::cin);
  if (!line.ok()) return WrongUsage(line.status());
  if (line->command == CommandLine::Command::kHelp) {
    std::cout << line->help;
    return ExitCode::kOk;
  }
  if (line->command == CommandLine::Command::kNewKey) {
    return RunNewKey(line->new_key, line->json, std::cout);
  }
  if (ExposesKey(line->connection)) {
    std::cerr << "sieve: warning: the API key goes over the network in clear; --tls encrypts"
              << std::endl;
  }

  // Only now: until here Ctrl-C ends the program, also while it reads a prompt.
  const bool is_chat = line->command == CommandLine::Command::kChat;
  Interrupt interrupt([is_chat] {
    if (!is_chat) _exit(static_cast<int>(ExitCode::kInterrupted));
    std::cerr << "\n(/quit or Ctrl-D leaves)\n> " << std::flush;
  });
  const SignalThread signals(&interrupt);

  const absl::StatusOr<std::shared_ptr<grpc::Channel>> channel = MakeChannel(*line);
  if (!channel.ok()) return WrongUsage(channel.status());
  const auto generation = v1::Generation::NewStub(*channel);
  const auto health = grpc::health::v1::Health::NewStub(*channel);
  Session session;
  session.generation = generation.get();
  session.health = health.get();
  session.interrupt = &interrupt;
  session.in = &std::cin;
  session.out = &std::cout;
  session.err = &std::cerr;
  session.timeout = line->timeout;
  session.json = line->json;
  session.stats = line->stats;
  return Run(*line, session);
}

}  // namespace
}  // namespace sieve

int main(int argc, char** argv) {
  return static_cast<int>(sieve::Main(std::vector<std::string>(argv + 1, argv + argc)));
}
