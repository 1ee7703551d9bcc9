#include "mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "error.h"

namespace fewbit {

namespace {

[[noreturn]] void fail(const std::string& what, const std::string& path) {
  throw Error("ERR_FEWBIT_FILE", "cannot " + what + " " + path + ": " + std::strerror(errno));
}

}  // namespace

MappedFile::MappedFile(const std::string& path) : path_(path) {
  descriptor_ = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor_ < 0) fail("open", path);
  struct stat status {};
  if (fstat(descriptor_, &status) != 0 || !S_ISREG(status.st_mode)) {
    const bool irregular = status.st_mode != 0;
    close(descriptor_);
    if (irregular) throw Error("ERR_FEWBIT_FILE", path + " is not a regular file");
    fail("read", path);
  }
  size_ = static_cast<uint64_t>(status.st_size);
  if (size_ == 0) return;
  void* data = mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, descriptor_, 0);
  if (data == MAP_FAILED) {
    close(descriptor_);
    fail("map", path);
  }
  data_ = static_cast<char*>(data);
  madvise(data_, size_, MADV_SEQUENTIAL);
}

MappedFile::~MappedFile() {
  if (data_) munmap(data_, size_);
  if (descriptor_ >= 0) close(descriptor_);
}

const char* MappedFile::range(uint64_t offset, uint64_t bytes) const {
  struct stat status {};
  const bool shrunk =
      fstat(descriptor_, &status) != 0 || static_cast<uint64_t>(status.st_size) < size_;
  if (offset > size_ || bytes > size_ - offset || shrunk) {
    throw Error("ERR_FEWBIT_FILE",
                path_ + ": bytes " + std::to_string(offset) + " to " +
                    std::to_string(offset + bytes) + " are not within its " +
                    std::to_string(shrunk ? status.st_size : size_) +
                    " bytes; the file is truncated or was replaced, fetch it again");
  }
  return data_ + offset;
}

}  // namespace fewbit
