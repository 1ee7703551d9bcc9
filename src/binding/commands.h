// The steps of a submitted job, from their JavaScript form to closures for the queue.
#pragma once

#include <napi.h>

#include <memory>
#include <vector>

#include "../core/job_queue.h"
#include "../core/tensor.h"
#include "channel.h"
#include "convert.h"

namespace fewbit {

// An op that is run outside of a program; keeps its tensors alive until it is destroyed.
class EagerCall {
 public:
  EagerCall(Backend& backend, const Napi::Value& op, const Napi::Value& tensors,
            const Napi::Value& attrs);
  // The caller holds the back end's mutex.
  void run();

 private:
  Backend& backend_;
  std::vector<Tensor> tensors_;
  BoundCall bound_;
};

// The bytes of a host array that a tensor is copied from or to; throws when the sizes differ, the tensor
// has gaps, or it belongs to another device.
Bytes host_side(Backend& backend, const Tensor& tensor, const Napi::Value& array, const char* what);

// Checks every command and turns it into a step. Arrays that steps use are referenced by the ticket.
std::vector<Job::Step> parse_commands(const std::shared_ptr<Backend>& backend,
                                      const Napi::Value& commands, JobTicket& ticket);

}  // namespace fewbit
