#ifndef SIEVE_SERVER_FAIR_SHARES_H_
#define SIEVE_SERVER_FAIR_SHARES_H_

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"

namespace sieve {

// Who of several tenants is next, so that each gets service (tokens computed) in proportion to its
// weight: virtual token counters (Sheng et al., "Fairness in Serving Large Language Models",
// OSDI 2024). A tenant's counter grows by tokens / weight; the least counter goes first.
//
// A tenant that begins to wait is lifted to the virtual time, so that nobody saves up service by
// not asking for it. The virtual time is at least the least counter of those that wait, and moves
// on with every token by 1 / (the weights of all that have work): a stream of ever new tenants,
// each of which begins at that time, therefore never holds up one that waits.
//
// A tenant without work whose counter the virtual time has reached is forgotten, for it would come
// back just so; of those that are ahead of it the kMaxIdle farthest ahead are kept. Not
// thread-safe.
class FairShares {
 public:
  static constexpr int64_t kMaxIdle = 1024;

  class Tenant;  // a handle

  FairShares();
  ~FairShares();

  // One more piece of work of a tenant; `weight` > 0 holds from now on. The handle is valid until
  // as many calls of Leave.
  Tenant* Join(const std::string& name, double weight);
  void Leave(Tenant* tenant);

  // Forgets all tenants, whatever state they are in; handles are no longer valid.
  void Reset();

  // Whether the tenant waits to be chosen by Next.
  void SetWaiting(Tenant* tenant, bool waiting);

  // Tokens were computed for the tenant.
  void Charge(Tenant* tenant, int64_t tokens);

  // Tokens that the tenant will be charged for soon: they count in Next until ClearReservations.
  void Reserve(Tenant* tenant, int64_t tokens);
  void ClearReservations();

  // Of those that wait the one with the least counter; among equals the one that has waited longest
  // to be chosen. Null when nobody waits.
  Tenant* Next() const { return waiting_.empty() ? nullptr : waiting_.begin()->second; }

  // Whether `a` has had less service than `b`, reservations not counted. A total order.
  static bool Before(const Tenant* a, const Tenant* b);

  // Tenants remembered, with and without work.
  int64_t size() const { return static_cast<int64_t>(tenants_.size()); }

 private:
  using Key = std::pair<double, int64_t>;  // counter, turn
  void Rekey(Tenant* tenant);
  void AdvanceTo(double virtual_time);
  void Forget(Tenant* tenant);

  absl::flat_hash_map<std::string, std::unique_ptr<Tenant>> tenants_;
  std::set<std::pair<Key, Tenant*>> waiting_;  // by counter with reservations
  std::set<std::pair<Key, Tenant*>> idle_;     // without work, by counter
  std::vector<Tenant*> reserved_;
  double virtual_time_ = 0;
  double active_weight_ = 0;  // of tenants with work
  int64_t active_ = 0;
  int64_t turns_ = 0;
};

class FairShares::Tenant {
 private:
  friend class FairShares;
  std::string name;
  double weight = 1;
  double counter = 0;   // tokens / weight
  double reserved = 0;  // the same
  int64_t turn = 0;     // grows with every beginning of waiting
  int64_t work = 0;     // Joins without Leave
  bool waiting = false;
  Key key;  // in waiting_ or idle_
};

}  // namespace sieve

#endif  // SIEVE_SERVER_FAIR_SHARES_H_
