#include "tensor.h"

namespace fewbit {

Storage::Storage(std::shared_ptr<Backend> backend, size_t bytes)
    : backend_(std::move(backend)), bytes_(bytes) {
  data_ = static_cast<char*>(backend_->allocate(bytes));
  backend_->enlist(this);
}

std::shared_ptr<Storage> Storage::planned(std::shared_ptr<Backend> backend, size_t bytes) {
  std::shared_ptr<Storage> storage(new Storage());
  storage->backend_ = std::move(backend);
  storage->bytes_ = bytes;
  storage->planned_ = true;
  return storage;
}

Storage::~Storage() {
  if (planned_) return;
  backend_->delist(this);
  if (!dropped_) backend_->release(data_, bytes_);
}

void Storage::drop() {
  if (dropped_) return;
  dropped_ = true;
  backend_->release(data_, bytes_);
  data_ = nullptr;
}

void Storage::place(std::shared_ptr<Storage> arena, size_t offset) {
  data_ = arena->data() + offset;
  arena_ = std::move(arena);
}

char* Storage::data() const {
  if (dropped_ || (arena_ && arena_->dropped_)) {
    throw Error("ERR_FEWBIT_DISPOSED", "this tensor's device was disposed");
  }
  if (planned_ && !arena_ && bytes_ > 0) {
    throw Error("ERR_FEWBIT_STATE",
                "this tensor belongs to a program that is still being recorded: it has no values "
                "outside of it (use Device.allocate for what must last)");
  }
  return data_;
}

Tensor Tensor::make(std::shared_ptr<Storage> storage, DType dtype, std::vector<int64_t> shape) {
  Tensor tensor{std::move(storage), dtype, std::move(shape), {}, 0};
  tensor.strides.assign(tensor.shape.size(), 1);
  for (size_t i = tensor.shape.size(); i-- > 1;) {
    tensor.strides[i - 1] = tensor.strides[i] * tensor.shape[i];
  }
  return tensor;
}

Tensor Tensor::window(int64_t window_offset, std::vector<int64_t> window_shape,
                      std::vector<int64_t> window_strides) const {
  checked_bytes(dtype, window_shape);
  int64_t last = offset + window_offset;
  bool valid = window_offset >= 0 && window_shape.size() == window_strides.size();
  bool empty = false;
  for (size_t i = 0; valid && i < window_shape.size(); ++i) {
    valid = window_strides[i] >= 0 && window_strides[i] <= INT64_MAX / 2 / (window_shape[i] + 1);
    empty = empty || window_shape[i] == 0;
    last += valid ? (window_shape[i] - 1) * window_strides[i] : 0;
    valid = valid && last < INT64_MAX / 4;
  }
  if (!window_strides.empty()) valid = valid && window_strides.back() == 1;
  const int64_t limit = static_cast<int64_t>(storage->bytes() / size_of(dtype));
  if (!valid || (!empty && last >= limit) || offset + window_offset > limit) {
    throw Error("ERR_FEWBIT_SHAPE", "a view of " + describe(shape_view()) +
                                        " reaches outside of its storage of " +
                                        std::to_string(storage->bytes()) + " bytes");
  }
  return Tensor{storage, dtype, std::move(window_shape), std::move(window_strides),
                offset + window_offset};
}

int64_t Tensor::elements() const {
  int64_t count = 1;
  for (int64_t extent : shape) count *= extent;
  return count;
}

TensorView Tensor::shape_view() const {
  TensorView view;
  view.dtype = dtype;
  view.rank = static_cast<int32_t>(shape.size());
  for (size_t i = 0; i < shape.size(); ++i) {
    view.shape[i] = shape[i];
    view.stride[i] = strides[i];
  }
  return view;
}

TensorView Tensor::view() const {
  TensorView view = shape_view();
  view.data = storage->data() + offset * static_cast<int64_t>(size_of(dtype));
  return view;
}

size_t checked_bytes(DType dtype, const std::vector<int64_t>& shape) {
  if (shape.size() > kMaxRank) {
    throw Error("ERR_FEWBIT_SHAPE", "a tensor has at most " + std::to_string(kMaxRank) + " axes");
  }
  size_t bytes = size_of(dtype);
  for (int64_t extent : shape) {
    if (extent < 0 || __builtin_mul_overflow(bytes, static_cast<size_t>(extent), &bytes) ||
        bytes > SIZE_MAX / 4) {
      throw Error("ERR_FEWBIT_SHAPE", "a tensor of that shape is too large to address");
    }
  }
  return bytes;
}

}  // namespace fewbit
