// The ways to compute linear_int8; cuda/linear_int8.cu chooses.
#pragma once

#include <vector>

#include "../common/context.h"

namespace fewbit::cuda::int8 {

struct Product;

// linear_int8_gemv.cu: dot products, for up to four rows.
void multiply_by_gemv(const Product& product, Context& context);

// linear_int8_bulk.cu: for compute capability 9.0, up to sixteen rows.
bool bulk_fits(int64_t rows, const Context& context);
void multiply_bulk(const Product& product, Context& context);

// linear_int8_stream.cu: for a few rows where bulk_fits does not hold; right for any number on any
// device.
void multiply_streaming(const Product& product, Context& context);

// linear_int8_outliers.cu: before and after a product whose outliers are to be packed, if they are as many
// as product.packed holds; the product itself then leaves them out.
void pack_outliers(const Product& product, Context& context);
void add_packed_outliers(const Product& product, Context& context);

// linear_int8_fused.cu: wgmma with everything in one kernel, for compute capability 9.0. Its
// variants are tile shapes, which all give the same bits; fused_variants lists those worth timing.
bool fused_available(const Context& context);
std::vector<int> fused_variants(const Product& product, const Context& context);
int suggest_fused_variant(const Product& product, const Context& context);
void multiply_fused(const Product& product, int variant, Context& context);

// linear_int8_dequantize.cu: results from the int32 sums [rows, weight_rows] of rows first_row ..
// first_row + rows.
void dequantize(const Product& product, const int32_t* sums, int64_t first_row, int64_t rows,
                Context& context);

}  // namespace fewbit::cuda::int8
