#include "trainer/masked_attention.h"

#include <cmath>
#include <limits>
#include <vector>

namespace sieve {
namespace {

// Channels that queries and keys get beside those of a head, for the entries' own terms: two a
// term, for a bfloat16 alone would round it. Fused kernels want a multiple of 8.
constexpr int64_t kExtra = 8;
constexpr int64_t kAlignment = 16;  // of the number of keys

// x and what its type cuts off from it, [..., 2] of the type of `like`.
at::Tensor TwoParts(const at::Tensor& x, const at::Tensor& like) {
  const at::Tensor high = x.to(like.scalar_type());
  const at::Tensor low = (x - high.to(at::kFloat)).to(like.scalar_type());
  return at::stack({high, low}, -1);
}

at::Tensor Zeros(const at::Tensor& like, int64_t axis, int64_t size) {
  std::vector<int64_t> sizes = like.sizes().vec();
  sizes[axis < 0 ? axis + like.dim() : axis] = size;
  return at::zeros(sizes, like.options());
}

at::Tensor Ones(const at::Tensor& like) { return at::full(like.sizes(), 1.0, like.options()); }

// The logit of an entry is then a product of its key with the query as any other's.
void AppendEntries(const MaskedAttentionInputs& in, double root, at::Tensor* q, at::Tensor* k,
                   at::Tensor* v) {
  const at::Tensor of_query = TwoParts(in.query_bias * root, in.q);
  const at::Tensor of_entry = TwoParts(in.entry_bias * root, in.q);
  *q = at::cat({in.q, of_query, Ones(of_query), Zeros(in.q, -1, kExtra - 4)}, -1);
  const at::Tensor keys = at::cat({in.k, Zeros(in.k, -1, kExtra)}, -1);
  const at::Tensor entries =
      at::cat({in.entry_k, Ones(of_entry), of_entry, Zeros(in.entry_k, -1, kExtra - 4)}, -1);
  *k = at::cat({keys, entries}, 2);
  *v = at::cat({in.v, in.entry_v}, 2);
}

at::Tensor Padded(const at::Tensor& x, int64_t axis, int64_t size) {
  const int64_t missing = size - x.size(axis);
  return missing == 0 ? x : at::cat({x, Zeros(x, axis, missing)}, axis);
}

// [N, K, Q, size]; what no query reads at the end.
at::Tensor Mask(const MaskedAttentionInputs& in, int64_t size) {
  at::Tensor mask = at::full({in.k.size(0), in.k.size(1), in.q.size(3), size},
                             -std::numeric_limits<double>::infinity(), in.q.options());
  mask.narrow(3, 0, in.k.size(2)).copy_(in.key_mask);
  if (in.entry_k.defined()) {
    mask.narrow(3, in.k.size(2), in.entry_k.size(2)).copy_(in.entry_mask);
  }
  return mask;
}

}  // namespace

at::Tensor MaskedAttention(const MaskedAttentionInputs& in) {
  const double root = std::sqrt(static_cast<double>(in.q.size(-1)));
  at::Tensor q = in.q, k = in.k, v = in.v;
  if (in.entry_k.defined()) AppendEntries(in, root, &q, &k, &v);
  const int64_t size = (k.size(2) + kAlignment - 1) / kAlignment * kAlignment;
  const int64_t group = q.size(2);
  // A key/value head's queries share what they read: strides of zero, no copies.
  const auto shared = [group](const at::Tensor& x) {
    return x.flatten(0, 1).unsqueeze(1).expand({-1, group, -1, -1});
  };
  const at::Tensor out = at::scaled_dot_product_attention(
      q.flatten(0, 1), shared(Padded(k, 2, size)), shared(Padded(v, 2, size)),
      shared(Mask(in, size)), /*dropout_p=*/0.0, /*is_causal=*/false, /*scale=*/1 / root);
  return out.unflatten(0, {in.k.size(0), in.k.size(1)});
}

}  // namespace sieve
