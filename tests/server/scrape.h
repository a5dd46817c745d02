#ifndef SIEVE_TESTS_SERVER_SCRAPE_H_
#define SIEVE_TESTS_SERVER_SCRAPE_H_

#include <memory>
#include <string>
#include <vector>

#include "prometheus/collectable.h"

namespace sieve {

// What http://127.0.0.1:port/metrics answers, headers and all.
std::string Scrape(int port);

// What a scrape of these would answer, without a server.
std::string Serialize(const std::vector<std::shared_ptr<prometheus::Collectable>>& collectables);

}  // namespace sieve

#endif  // SIEVE_TESTS_SERVER_SCRAPE_H_
