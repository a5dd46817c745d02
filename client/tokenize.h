#ifndef SIEVE_CLIENT_TOKENIZE_H_
#define SIEVE_CLIENT_TOKENIZE_H_

#include "client/session.h"
#include "sieve/v1/generation.pb.h"

namespace sieve {

// `sieve tokenize`: a line for each token, its id, a tab, and its bytes in quotes with C escapes.
ExitCode RunTokenize(const Session& session, const v1::TokenizeRequest& request);

// `sieve detokenize`: the text of the tokens.
ExitCode RunDetokenize(const Session& session, const v1::DetokenizeRequest& request);

}  // namespace sieve

#endif  // SIEVE_CLIENT_TOKENIZE_H_
