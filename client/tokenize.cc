#include "client/tokenize.h"

#include <algorithm>

#include "absl/strings/escaping.h"

namespace sieve {

ExitCode RunTokenize(const Session& session, const v1::TokenizeRequest& request) {
  v1::TokenizeResponse response;
  const grpc::Status status = Call(session, [&](grpc::ClientContext* context) {
    return session.generation->Tokenize(context, request, &response);
  });
  if (!status.ok()) return Report(session, status);
  if (session.json) {
    PrintJson(session, response);
    return ExitCode::kOk;
  }
  const int count = std::min(response.token_ids_size(), response.tokens_size());
  for (int i = 0; i < count; ++i) {
    *session.out << response.token_ids(i) << "\t\"" << absl::Utf8SafeCEscape(response.tokens(i))
                 << "\"\n";
  }
  *session.out << std::flush;
  if (session.stats) *session.err << response.token_ids_size() << " tokens" << std::endl;
  return ExitCode::kOk;
}

ExitCode RunDetokenize(const Session& session, const v1::DetokenizeRequest& request) {
  v1::DetokenizeResponse response;
  const grpc::Status status = Call(session, [&](grpc::ClientContext* context) {
    return session.generation->Detokenize(context, request, &response);
  });
  if (!status.ok()) return Report(session, status);
  if (session.json) {
    PrintJson(session, response);
  } else {
    *session.out << response.text() << std::endl;
  }
  return ExitCode::kOk;
}

}  // namespace sieve
