#ifndef SIEVE_CLIENT_SESSION_H_
#define SIEVE_CLIENT_SESSION_H_

#include <functional>
#include <istream>
#include <optional>
#include <ostream>
#include <string>

#include "absl/time/time.h"
#include "client/exit_code.h"
#include "client/interrupt.h"
#include "google/protobuf/message.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "grpcpp/client_context.h"
#include "sieve/v1/generation.grpc.pb.h"

namespace sieve {

// What every subcommand works with; nothing is owned.
struct Session {
  v1::Generation::StubInterface* generation = nullptr;
  grpc::health::v1::Health::StubInterface* health = nullptr;
  Interrupt* interrupt = nullptr;
  std::istream* in = nullptr;
  std::ostream* out = nullptr;  // what was asked for, and nothing else
  std::ostream* err = nullptr;
  std::optional<absl::Duration> timeout;  // for each call
  bool json = false;                      // one JSON object a line on `out`
  bool stats = false;                     // timings on `err`
};

// Runs `call` with a context that has the session's time limit and that an interruption cancels.
grpc::Status Call(const Session& session,
                  const std::function<grpc::Status(grpc::ClientContext*)>& call);

// Tells of an error on `err` (and on `out` with --json) and returns its exit code; silent when OK.
ExitCode Report(const Session& session, const grpc::Status& status);

// Protobuf's JSON mapping, without line breaks, fields under the names that the .proto file gives
// them; and a string and an error as JSON.
std::string ToJson(const google::protobuf::Message& message);
std::string ToJsonString(const std::string& text);
std::string ErrorToJson(const grpc::Status& status);

// ToJson as a line.
void PrintJson(const Session& session, const google::protobuf::Message& message);

}  // namespace sieve

#endif  // SIEVE_CLIENT_SESSION_H_
