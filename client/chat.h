#ifndef SIEVE_CLIENT_CHAT_H_
#define SIEVE_CLIENT_CHAT_H_

#include <string>

#include "client/session.h"
#include "sieve/v1/generation.pb.h"

namespace sieve {

// `sieve chat`: a conversation, one line of `in` a turn, each answer streamed as it comes. The
// lines /reset, /quit and /help are commands. An interruption ends the answer and keeps what was
// said so far; a turn that failed is taken back. `options` is the request but for its prompt;
// `system` may be empty; `show_prompt` puts "> " on `err` before each turn. Returns at the end of
// the input, with the exit code of the last answer, or at once when the server is gone.
ExitCode RunChat(const Session& session, const v1::GenerateRequest& options,
                 const std::string& system, bool show_prompt);

}  // namespace sieve

#endif  // SIEVE_CLIENT_CHAT_H_
