// A read-only file mapped into memory.
#pragma once

#include <cstdint>
#include <string>

namespace fewbit {

class MappedFile {
 public:
  // Throws Error("ERR_FEWBIT_FILE") with the system's reason.
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const { return path_; }
  uint64_t size() const { return size_; }
  // The bytes at offset; throws when the range is not within the file, or the file has shrunk since
  // it was opened (touching such pages would kill the process).
  const char* range(uint64_t offset, uint64_t bytes) const;

 private:
  std::string path_;
  int descriptor_ = -1;
  uint64_t size_ = 0;
  char* data_ = nullptr;
};

}  // namespace fewbit
