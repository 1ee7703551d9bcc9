#include "commands.h"

#include <algorithm>
#include <chrono>

#include "../core/program.h"
#include "file_wrap.h"
#include "program_wrap.h"
#include "tensor_wrap.h"

namespace fewbit {

namespace {

void check_owner(const Backend& backend, const Tensor& tensor) {
  if (&tensor.storage->backend() != &backend) {
    throw Error("ERR_FEWBIT_ARGUMENT",
                describe(tensor.shape_view()) + " belongs to another device object");
  }
}

// Everything a command may need while it is parsed.
struct Parsing {
  std::shared_ptr<Backend> backend;
  Napi::Object command;
  JobTicket& ticket;

  Tensor tensor(const char* key) const {
    Tensor tensor = TensorWrap::get(command.Get(key));
    check_owner(*backend, tensor);
    return tensor;
  }
  Bytes array(const char* key, const Tensor& tensor) const {
    Napi::Value value = command.Get(key);
    const Bytes bytes = host_side(*backend, tensor, value, key);
    ticket.alive.push_back(Napi::Persistent(value.As<Napi::Object>()));
    return bytes;
  }
};

Job::Step parse_write(const Parsing& in) {
  Tensor tensor = in.tensor("tensor");
  const Bytes bytes = host_side(*in.backend, tensor, in.command.Get("data"), "data");
  // Copied now, so that the caller may change the array at once.
  auto data = std::make_shared<std::vector<uint8_t>>(bytes.data, bytes.data + bytes.size);
  return [backend = in.backend, tensor, data](auto&) {
    if (!data->empty()) backend->copy_in(tensor.view().data, data->data(), data->size());
  };
}

Job::Step parse_read(const Parsing& in) {
  Tensor tensor = in.tensor("tensor");
  const Bytes bytes = in.array("into", tensor);
  return [backend = in.backend, tensor, bytes](std::vector<Job::Copy>& later) {
    if (bytes.size == 0) return;
    const void* from = tensor.view().data;
    std::shared_ptr<void> pinned = backend->pinned(bytes.size);
    if (!pinned) {
      backend->copy_out(bytes.data, from, bytes.size);
      return;
    }
    backend->copy_out_later(pinned.get(), from, bytes.size);
    later.push_back({std::move(pinned), bytes.data, bytes.size});
  };
}

Job::Step parse_run(const Parsing& in) {
  auto call = std::make_shared<EagerCall>(*in.backend, in.command.Get("op"),
                                          in.command.Get("tensors"), in.command.Get("attrs"));
  return [call](auto&) { call->run(); };
}

std::shared_ptr<Program> parse_program(const Parsing& in) {
  std::shared_ptr<Program> program = ProgramWrap::get(in.command.Get("program"));
  if (&program->backend() != in.backend.get()) {
    throw Error("ERR_FEWBIT_ARGUMENT", "this program belongs to another device object");
  }
  return program;
}

Job::Step parse_load(const Parsing& in) {
  Tensor tensor = in.tensor("tensor");
  std::shared_ptr<MappedFile> file = FileWrap::get(in.command.Get("file"));
  const int64_t offset = to_integer(in.command.Get("offset"), "offset");
  if (offset < 0) throw Error("ERR_FEWBIT_ARGUMENT", "offset must not be negative");
  if (!tensor.contiguous() && tensor.shape.size() != 2) {
    throw Error("ERR_FEWBIT_SHAPE", "load takes a contiguous tensor or a matrix");
  }
  file->range(static_cast<uint64_t>(offset), tensor.bytes());
  return [backend = in.backend, tensor, file, offset](auto&) {
    if (tensor.elements() > 0) backend->load(*file, static_cast<uint64_t>(offset), tensor.view());
  };
}

Job::Step parse_copy(const Parsing& in) {
  Tensor from = in.tensor("from"), to = in.tensor("to");
  if (from.bytes() != to.bytes() || !from.contiguous() || !to.contiguous()) {
    throw Error("ERR_FEWBIT_SHAPE", "copy takes two contiguous tensors of the same size, got " +
                                        describe(from.shape_view()) + " and " +
                                        describe(to.shape_view()));
  }
  return [backend = in.backend, from, to](auto&) {
    if (from.bytes()) backend->copy_within(to.view().data, from.view().data, from.bytes());
  };
}

double timed_run(Backend& backend, Program& program) {
  auto start = backend.fence();
  if (start) {
    program.run();
    return backend.elapsed(*start, *backend.fence());
  }
  const auto begin = std::chrono::steady_clock::now();
  program.run();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin)
      .count();
}

Job::Step parse_time(const Parsing& in) {
  std::shared_ptr<Program> program = parse_program(in);
  Napi::Value into = in.command.Get("into");
  if (!into.IsTypedArray() || into.As<Napi::TypedArray>().TypedArrayType() != napi_float64_array) {
    throw Error("ERR_FEWBIT_ARGUMENT", "into must be a Float64Array");
  }
  const Bytes bytes = to_bytes(into, "into");
  in.ticket.alive.push_back(Napi::Persistent(into.As<Napi::Object>()));
  Tensor flush;
  if (!in.command.Get("flush").IsNull()) flush = in.tensor("flush");
  return [backend = in.backend, program, flush, bytes](auto&) {
    double* milliseconds = reinterpret_cast<double*>(bytes.data);
    for (size_t i = 0; i < bytes.size / sizeof(double); ++i) {
      if (flush.storage) backend->clear(flush.view().data, flush.bytes());
      milliseconds[i] = timed_run(*backend, *program);
    }
  };
}

Job::Step parse_command(const Parsing& in) {
  const std::string kind = to_string(in.command.Get("kind"), "kind");
  if (kind == "write") return parse_write(in);
  if (kind == "read") return parse_read(in);
  if (kind == "run") return parse_run(in);
  if (kind == "load") return parse_load(in);
  if (kind == "copy") return parse_copy(in);
  if (kind == "time") return parse_time(in);
  if (kind == "program") {
    return [program = parse_program(in)](auto&) { program->run(); };
  }
  throw Error("ERR_FEWBIT_ARGUMENT", "unknown command '" + kind + "'");
}

}  // namespace

EagerCall::EagerCall(Backend& backend, const Napi::Value& op, const Napi::Value& tensors,
                     const Napi::Value& attrs)
    : backend_(backend) {
  Napi::Array array = to_array(tensors, "tensors");
  const std::vector<double> values = to_numbers(attrs, "attrs");
  if (array.Length() > kMaxTensors || values.size() > kMaxAttrs) {
    throw Error("ERR_FEWBIT_ARGUMENT", "too many tensors or attributes");
  }
  OpCall call;
  std::copy(values.begin(), values.end(), call.attrs);
  for (uint32_t i = 0; i < array.Length(); ++i) {
    Napi::Value item = array[i];
    if (item.IsNull()) continue;
    tensors_.push_back(TensorWrap::get(item));
    check_owner(backend, tensors_.back());
    call.tensors[i] = tensors_.back().view();
  }
  bound_ = bind_call(backend, to_string(op, "op"), call, static_cast<int>(array.Length()),
                     static_cast<int>(values.size()));
}

void EagerCall::run() {
  const size_t bytes = backend_.workspace(bound_);
  void* workspace = backend_.allocate(bytes);
  bound_.call.workspace = workspace;
  bound_.call.workspace_bytes = bytes;
  try {
    backend_.run(bound_);
    if (bytes) backend_.synchronize();
  } catch (...) {
    backend_.release(workspace, bytes);
    throw;
  }
  backend_.release(workspace, bytes);
}

Bytes host_side(Backend& backend, const Tensor& tensor, const Napi::Value& array,
                const char* what) {
  check_owner(backend, tensor);
  const Bytes bytes = to_bytes(array, what);
  if (bytes.size != tensor.bytes() || !tensor.contiguous()) {
    throw Error("ERR_FEWBIT_SHAPE", std::string(what) + " has " + std::to_string(bytes.size) +
                                        " bytes, and " + describe(tensor.shape_view()) +
                                        (tensor.contiguous() ? " needs " : " has gaps in its ") +
                                        std::to_string(tensor.bytes()));
  }
  return bytes;
}

std::vector<Job::Step> parse_commands(const std::shared_ptr<Backend>& backend,
                                      const Napi::Value& commands, JobTicket& ticket) {
  Napi::Array array = to_array(commands, "commands");
  std::vector<Job::Step> steps;
  for (uint32_t i = 0; i < array.Length(); ++i) {
    Napi::Value item = array[i];
    steps.push_back(parse_command(Parsing{backend, to_object(item, "a command"), ticket}));
  }
  return steps;
}

}  // namespace fewbit
