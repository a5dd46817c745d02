#ifndef SIEVE_SERVER_TENANT_H_
#define SIEVE_SERVER_TENANT_H_

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/string_view.h"

namespace sieve {

// For messages.
inline constexpr char kTenantNameRule[] = "1 to 64 of A-Z a-z 0-9 . _ -";
inline constexpr char kTenantWeightRule[] = "a number from 0.001 to 1000";

// Names go into logs and files as they are.
inline bool IsTenantName(absl::string_view name) {
  return !name.empty() && name.size() <= 64 &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) {
           return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-';
         });
}

// Tenants share by weight; within these bounds sums and quotients stay exact enough.
inline bool IsTenantWeight(double weight) { return weight >= 0.001 && weight <= 1000; }

}  // namespace sieve

#endif  // SIEVE_SERVER_TENANT_H_
