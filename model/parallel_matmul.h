#ifndef SIEVE_MODEL_PARALLEL_MATMUL_H_
#define SIEVE_MODEL_PARALLEL_MATMUL_H_

#include "absl/types/span.h"
#include "kernels/matmul_params.h"
#include "kernels/thread_pool.h"
#include "model/attention/variant.h"

namespace sieve {

// Several matrix products, their rows spread over the pool's threads as one parallel region. Row
// ranges of the products are ignored: all rows are computed.
void ParallelMatMul(absl::Span<const MatMulParams> products, WorkerScratch scratch,
                    ThreadPool* pool);

}  // namespace sieve

#endif  // SIEVE_MODEL_PARALLEL_MATMUL_H_
