#include "client/session.h"

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

std::string ToJson(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  std::string text;
  // Fails for messages that hold invalid well-known types only; what came over the wire parsed.
  if (!google::protobuf::util::MessageToJsonString(message, &text, options).ok()) return "{}";
  return text;
}

std::string ToJsonString(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string ErrorToJson(const grpc::Status& status) {
  const nlohmann::json error = {{"code", StatusCodeName(status.error_code())},
                                {"message", status.error_message()}};
  return error.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

ExitCode Report(const Session& session, const grpc::Status& status) {
  if (!status.ok()) {
    *session.err << "sieve: " << StatusCodeName(status.error_code()) << ": "
                 << status.error_message() << std::endl;
    if (session.json) *session.out << "{\"error\":" << ErrorToJson(status) << "}" << std::endl;
  }
  return ExitCodeFor(status);
}

void PrintJson(const Session& session, const google::protobuf::Message& message) {
  *session.out << ToJson(message) << std::endl;
}

}  // namespace sieve
