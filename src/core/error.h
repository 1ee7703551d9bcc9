// The one native error type. It becomes a JavaScript FewbitError with the same code.
#pragma once

#include <stdexcept>
#include <string>

namespace fewbit {

class Error : public std::runtime_error {
 public:
  Error(std::string code, const std::string& message)
      : std::runtime_error(message), code_(std::move(code)) {}
  const std::string& code() const { return code_; }

 private:
  std::string code_;
};

}  // namespace fewbit
