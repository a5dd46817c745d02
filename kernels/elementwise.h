#ifndef SIEVE_KERNELS_ELEMENTWISE_H_
#define SIEVE_KERNELS_ELEMENTWISE_H_

#include <cstdint>

namespace sieve {

// out[i] = x[i] * weight[i] / sqrt(mean(x^2) + epsilon), i in [0, n). out may be x.
void RmsNorm(const float* x, const float* weight, double epsilon, int64_t n, float* out);

// out[i] = silu(gate[i]) * up[i], silu(g) = g / (1 + exp(-g)). out may be gate or up.
void SwiGlu(const float* gate, const float* up, int64_t n, float* out);

// Rotates each of `heads` consecutive heads x[heads, head_dim] by the angles of one position: pairs
// (2i, 2i+1) when interleaved, else (i, i + head_dim/2). cosines and sines: [head_dim / 2].
void ApplyRope(float* x, int64_t heads, int64_t head_dim, const float* cosines, const float* sines,
               bool interleaved);

// Undoes ApplyRope.
void RotateBack(float* x, int64_t heads, int64_t head_dim, const float* cosines, const float* sines,
                bool interleaved);

// The angles of a position, [half] each; `frequencies` are angles per position. They are rounded to
// float before their cosine is taken, as in the reference implementation: at large positions the
// rounding is visible in the logits.
void RopeAngles(const double* frequencies, int64_t half, int64_t position, float* cosines,
                float* sines);

// The specifications: plain loops, sums and exponentials in double.
void RmsNormReference(const float* x, const float* weight, double epsilon, int64_t n, float* out);
void SwiGluReference(const float* gate, const float* up, int64_t n, float* out);

}  // namespace sieve

#endif  // SIEVE_KERNELS_ELEMENTWISE_H_
