#ifndef SIEVE_TRAINER_EVAL_TABLE_H_
#define SIEVE_TRAINER_EVAL_TABLE_H_

#include <nlohmann/json.hpp>
#include <string>

namespace sieve {

// Results as Markdown tables, a title before each. `results` has "task" and what the evaluation of
// that task returns.
std::string MarkdownTables(const nlohmann::ordered_json& results);

}  // namespace sieve

#endif  // SIEVE_TRAINER_EVAL_TABLE_H_
