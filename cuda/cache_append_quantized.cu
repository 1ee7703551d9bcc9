// cache_append_quantized on CUDA: see src/ops/cache_append_quantized.h.
#include "../src/ops/cache_append_quantized.h"

#include "common/cuda_op.h"
#include "kv/append.h"

namespace fewbit::cuda {
namespace {

void run(const OpCall& call, Context& context) {
  using namespace ops::cache_append_quantized;
  kv::append_rows(kv::rows_of(call), call[q].dtype, static_cast<int>(call.attrs[bits]), context);
}

const CudaOp op("cache_append_quantized", run);

}  // namespace
}  // namespace fewbit::cuda
