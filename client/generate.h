#ifndef SIEVE_CLIENT_GENERATE_H_
#define SIEVE_CLIENT_GENERATE_H_

#include <functional>

#include "client/session.h"
#include "sieve/v1/generation.pb.h"

namespace sieve {

// Streams one request's events to `on_event`; returns how the call ended.
grpc::Status StreamEvents(const Session& session, const v1::GenerateRequest& request,
                          const std::function<void(const v1::GenerateEvent&)>& on_event);

// `sieve generate`: the answer to one prompt.
ExitCode RunGenerate(const Session& session, const v1::GenerateRequest& request);

}  // namespace sieve

#endif  // SIEVE_CLIENT_GENERATE_H_
