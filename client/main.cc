// The command line of Sieve. `sieve --help` says what it does.

#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "client/chat.h"
#include "client/command_line.h"
#include "client/exit_code.h"
#include "client/generate.h"
#include "client/info.h"
#include "client/interrupt.h"
#include "client/session.h"
#include "client/tokenize.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"

namespace sieve {
namespace {

constexpr char kDefaultAddress[] = "127.0.0.1:50051";

ExitCode Run(const CommandLine& line, const Session& session) {
  switch (line.command) {
    case CommandLine::Command::kHelp:
      break;  // answered without a session
    case CommandLine::Command::kGenerate:
      return RunGenerate(session, line.generate);
    case CommandLine::Command::kChat:
      return RunChat(session, line.generate, line.system, isatty(STDIN_FILENO));
    case CommandLine::Command::kTokenize:
      return RunTokenize(session, line.tokenize);
    case CommandLine::Command::kDetokenize:
      return RunDetokenize(session, line.detokenize);
    case CommandLine::Command::kInfo:
      return RunInfo(session);
    case CommandLine::Command::kHealth:
      return RunHealth(session);
  }
  return ExitCode::kUsage;
}

ExitCode Main(const std::vector<std::string>& arguments) {
  const char* address = std::getenv("SIEVE_ADDRESS");
  const absl::StatusOr<CommandLine> line =
      ParseCommandLine(arguments, address == nullptr ? kDefaultAddress : address, std::cin);
  if (!line.ok()) {
    std::cerr << "sieve: " << line.status().message() << std::endl;
    return ExitCode::kUsage;
  }
  if (line->command == CommandLine::Command::kHelp) {
    std::cout << line->help;
    return ExitCode::kOk;
  }

  // Only now: until here Ctrl-C ends the program, also while it reads a prompt.
  const bool is_chat = line->command == CommandLine::Command::kChat;
  Interrupt interrupt([is_chat] {
    if (!is_chat) _exit(static_cast<int>(ExitCode::kInterrupted));
    std::cerr << "\n(/quit or Ctrl-D leaves)\n> " << std::flush;
  });
  const SignalThread signals(&interrupt);

  grpc::ChannelArguments channel_arguments;
  channel_arguments.SetMaxReceiveMessageSize(-1);
  const auto channel = grpc::CreateCustomChannel(line->address, grpc::InsecureChannelCredentials(),
                                                 channel_arguments);
  const auto generation = v1::Generation::NewStub(channel);
  const auto health = grpc::health::v1::Health::NewStub(channel);
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
