// The ways to compute linear_bitnet; cuda/linear_bitnet.cu chooses.
#pragma once

#include <vector>

#include "../common/context.h"

namespace fewbit::cuda::bitnet {

struct Product;
struct Quantize;

// linear_bitnet.cu: the op, by the way that suits the shape and the device.
void multiply(const Product& product, Context& context);
void prepare(const Product& product, Context& context);

// bit_linear_bulk.cu: quantization and product of one row in one kernel, for compute capability 9.0
// and later. False when the shapes do not suit; nothing was launched then.
bool multiply_quantizing(const Product& product, const Quantize& quantize, Context& context);

// linear_bitnet_bulk.cu: up to eight rows at memory speed, for compute capability 9.0 and later. False
// when the shape does not suit; nothing was launched then.
bool multiply_bulk(const Product& product, Context& context);

// linear_bitnet_stream.cu: right for any number of rows on any device.
void multiply_streaming(const Product& product, Context& context);

// linear_bitnet_tile.cu: wgmma with weights unpacked into registers, for compute capability 9.0. Its
// variants are tile shapes, which all give the same bits; tile_variants lists those that fit. tile_adds:
// whether it can add to a residual of this kind.
bool tile_available(const Context& context);
bool tile_adds(const Product& product);
std::vector<int> tile_variants(const Product& product);
int suggest_tile_variant(const Product& product, const Context& context);
void multiply_tiles(const Product& product, int variant, Context& context);

}  // namespace fewbit::cuda::bitnet
