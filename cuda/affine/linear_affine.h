// The ways to compute linear_affine; cuda/linear_affine.cu chooses.
#pragma once

#include <vector>

#include "../common/context.h"

namespace fewbit::cuda::affine {

struct Product;

// linear_affine_stream.cu: right for any number of rows on any device, meant for few.
void multiply_streaming(const Product& product, Context& context);

// linear_affine_tile.cu: many rows by wgmma, on compute capability 9.0. Activations must be int8:
// widened() brings packed ones there. The variants are tile shapes.
bool tile_available(const Context& context);
std::vector<int> tile_variants(const Product& product, const Context& context);
int suggest_tile_variant(const Product& product, const Context& context);
void multiply_tiles(const Product& product, int variant, Context& context);
// The same product with activations in the buffer, of a byte each.
Product widened(const Product& product, void* buffer, Context& context);

}  // namespace fewbit::cuda::affine
