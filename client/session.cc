#include "client/session.h"

#include <string>

#include "google/protobuf/util/json_util.h"
#include "nlohmann/json.hpp"

namespace sieve {

grpc::Status Call(const Session& session,
                  const std::function<grpc::Status(grpc::ClientContext*)>& call) {
  grpc::ClientContext context;
  if (session.timeout) {
    context.set_deadline(absl::ToChronoTime(absl::Now() + *session.timeout));
  }
  Interrupt::Scope scope(session.interrupt, [&context] { context.TryCancel(); });
  return call(&context);
}

ExitCode Report(const Session& session, const grpc::Status& status) {
  if (!status.ok()) {
    const char* code = StatusCodeName(status.error_code());
    *session.err << "sieve: " << code << ": " << status.error_message() << std::endl;
    if (session.json) {
      const nlohmann::json error = {{"code", code}, {"message", status.error_message()}};
      *session.out << nlohmann::json{{"error", error}}.dump(
                          -1, ' ', false, nlohmann::json::error_handler_t::replace)
                   << std::endl;
    }
  }
  return ExitCodeFor(status);
}

void PrintJson(const Session& session, const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  std::string line;
  // Fails for messages that hold invalid well-known types only; what came over the wire parsed.
  if (google::protobuf::util::MessageToJsonString(message, &line, options).ok()) {
    *session.out << line << std::endl;
  }
}

}  // namespace sieve
