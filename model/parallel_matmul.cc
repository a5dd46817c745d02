#include "model/parallel_matmul.h"

#include <algorithm>

#include "kernels/matmul.h"

namespace sieve {
namespace {

// Few enough tasks that handing them out is cheap, enough to even out threads that are held up.
int64_t RowsPerTask(int64_t rows, int threads) {
  if (threads == 1) return rows;
  const int64_t even = rows / (threads * 6);
  return std::max<int64_t>(16, (even + 3) / 4 * 4);
}

}  // namespace

void ParallelMatMul(absl::Span<const MatMulParams> products, WorkerScratch scratch,
                    ThreadPool* pool) {
  int64_t rows = 0;
  for (const MatMulParams& p : products) rows += p.weights.rows;
  const int64_t rows_a_task = RowsPerTask(rows, pool->num_threads());
  int64_t tasks = 0;
  for (const MatMulParams& p : products) {
    tasks += (p.weights.rows + rows_a_task - 1) / rows_a_task;
  }
  pool->ParallelFor(tasks, [&](int64_t task, int worker) {
    for (const MatMulParams& p : products) {
      const int64_t own = (p.weights.rows + rows_a_task - 1) / rows_a_task;
      if (task < own) {
        MatMulParams part = p;
        part.row_begin = task * rows_a_task;
        part.row_end = std::min(p.weights.rows, part.row_begin + rows_a_task);
        MatMul(part, scratch.of(worker));
        return;
      }
      task -= own;
    }
  });
}

}  // namespace sieve
