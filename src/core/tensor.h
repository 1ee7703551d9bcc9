// Storage is memory of one back end; a Tensor is a typed window on it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "backend.h"

namespace fewbit {

// Owns its memory, or stands for a place in an arena that a program's plan will assign.
class Storage {
 public:
  Storage(std::shared_ptr<Backend> backend, size_t bytes);
  // Planned: no memory until place() is called.
  static std::shared_ptr<Storage> planned(std::shared_ptr<Backend> backend, size_t bytes);
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  void place(std::shared_ptr<Storage> arena, size_t offset);
  // Gives the memory back before the storage itself goes, when its device is closed.
  void drop();
  bool is_planned() const { return planned_; }
  Backend& backend() const { return *backend_; }
  size_t bytes() const { return bytes_; }
  // Throws when a planned storage has no place yet, or the device is closed.
  char* data() const;

 private:
  Storage() = default;

  std::shared_ptr<Backend> backend_;
  std::shared_ptr<Storage> arena_;
  char* data_ = nullptr;
  size_t bytes_ = 0;
  bool planned_ = false;
  bool dropped_ = false;
};

struct Tensor {
  std::shared_ptr<Storage> storage;
  DType dtype = DType::F32;
  std::vector<int64_t> shape;
  std::vector<int64_t> strides;
  int64_t offset = 0;  // elements

  static Tensor make(std::shared_ptr<Storage> storage, DType dtype, std::vector<int64_t> shape);
  // Another window on the same storage; throws when it would reach outside.
  Tensor window(int64_t offset, std::vector<int64_t> shape, std::vector<int64_t> strides) const;

  int64_t elements() const;
  size_t bytes() const { return static_cast<size_t>(elements()) * size_of(dtype); }
  bool contiguous() const { return shape_view().contiguous(); }
  // With data == nullptr as long as a planned storage has no place.
  TensorView shape_view() const;
  TensorView view() const;
};

// Bytes of a tensor; throws when the size overflows or the rank is above kMaxRank.
size_t checked_bytes(DType dtype, const std::vector<int64_t>& shape);

}  // namespace fewbit
