// linear_affine for many rows, weights of 3 bits: see affine/tile_matmul.cuh.
#include "affine/tile_launch.cuh"

namespace fewbit::cuda::affine {

void launch_tiles_3(const Product& p, const TileVariant& variant, Context& context) {
  launch_tiles<3>(p, variant, context);
}

}  // namespace fewbit::cuda::affine
