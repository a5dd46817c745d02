#ifndef SIEVE_TRAINER_EVAL_TABLE_H_
#define SIEVE_TRAINER_EVAL_TABLE_H_

#include <nlohmann/json.hpp>
#include <string>

namespace sieve {

// Results as Markdown tables, a title before each. `results` has "task" and what the evaluation of
// that task returns: of what is not so, nlohmann::json::exception is thrown.
std::string MarkdownTables(const nlohmann::ordered_json& results);

}  // namespace sieve

#endif  // SIEVE_TRAINER_EVAL_TABLE_H_
