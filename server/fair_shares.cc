#include "server/fair_shares.h"

#include <algorithm>
#include <tuple>

namespace sieve {

FairShares::FairShares() = default;
FairShares::~FairShares() = default;

FairShares::Tenant* FairShares::Join(const std::string& name, double weight) {
  std::unique_ptr<Tenant>& slot = tenants_[name];
  if (slot == nullptr) {
    slot = std::make_unique<Tenant>();
    slot->name = name;
    slot->counter = virtual_time_;
    slot->turn = ++turns_;
  }
  Tenant* tenant = slot.get();
  if (tenant->work++ == 0) {
    idle_.erase({tenant->key, tenant});
    ++active_;
  } else {
    active_weight_ -= tenant->weight;
  }
  tenant->weight = weight;
  active_weight_ += weight;
  return tenant;
}

void FairShares::Leave(Tenant* tenant) {
  if (--tenant->work > 0) return;
  SetWaiting(tenant, false);
  active_weight_ -= tenant->weight;
  if (--active_ == 0) active_weight_ = 0;  // no rounding is carried on
  tenant->key = {tenant->counter, tenant->turn};
  idle_.insert({tenant->key, tenant});
  AdvanceTo(virtual_time_);
  if (idle_.size() > kMaxIdle) Forget(idle_.begin()->second);
}

void FairShares::Reset() {
  waiting_.clear();
  idle_.clear();
  reserved_.clear();
  tenants_.clear();
  active_weight_ = 0;
  active_ = 0;
}

void FairShares::SetWaiting(Tenant* tenant, bool waiting) {
  if (tenant->waiting == waiting) return;
  tenant->waiting = waiting;
  if (!waiting) {
    waiting_.erase({tenant->key, tenant});
    return;
  }
  tenant->counter = std::max(tenant->counter, virtual_time_);
  tenant->turn = ++turns_;
  tenant->key = {tenant->counter + tenant->reserved, tenant->turn};
  waiting_.insert({tenant->key, tenant});
}

void FairShares::Charge(Tenant* tenant, int64_t tokens) {
  tenant->counter += tokens / tenant->weight;
  Rekey(tenant);
  double time = virtual_time_ + tokens / active_weight_;
  if (!waiting_.empty()) time = std::max(time, waiting_.begin()->second->counter);
  AdvanceTo(time);
}

void FairShares::Reserve(Tenant* tenant, int64_t tokens) {
  if (tenant->reserved == 0) reserved_.push_back(tenant);
  tenant->reserved += tokens / tenant->weight;
  Rekey(tenant);
}

void FairShares::ClearReservations() {
  for (Tenant* tenant : reserved_) {
    tenant->reserved = 0;
    Rekey(tenant);
  }
  reserved_.clear();
}

bool FairShares::Before(const Tenant* a, const Tenant* b) {
  return std::tie(a->counter, a->turn) < std::tie(b->counter, b->turn);
}

void FairShares::Rekey(Tenant* tenant) {
  if (!tenant->waiting) return;
  waiting_.erase({tenant->key, tenant});
  tenant->key.first = tenant->counter + tenant->reserved;
  waiting_.insert({tenant->key, tenant});
}

void FairShares::AdvanceTo(double virtual_time) {
  virtual_time_ = std::max(virtual_time_, virtual_time);
  while (!idle_.empty() && idle_.begin()->first.first <= virtual_time_) {
    Forget(idle_.begin()->second);
  }
}

void FairShares::Forget(Tenant* tenant) {
  idle_.erase({tenant->key, tenant});
  const std::string name = tenant->name;  // the entry's own goes with it
  tenants_.erase(name);
}

}  // namespace sieve
