// A device's own thread: jobs run on it in order, off the event loop.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "backend.h"

namespace fewbit {

// Steps that run in order. done() is called once, on a queue thread, when the device has finished the last
// step, or with the error of the step that failed (the steps after it do not run).
struct Job {
  struct Copy {
    std::shared_ptr<void> pinned;
    void* to;
    size_t bytes;
  };

  // A step may append to `later`: copies to make from pinned memory once the device is done.
  using Step = std::function<void(std::vector<Copy>& later)>;
  std::vector<Step> steps;
  std::function<void(std::optional<Error>)> done;
};

class JobQueue {
 public:
  explicit JobQueue(std::shared_ptr<Backend> backend);
  // Finishes the job under way; jobs not yet started fail with ERR_FEWBIT_DISPOSED.
  ~JobQueue();

  void push(Job job);

 private:
  // Work that the device still has to finish before the job may be reported.
  struct Pending {
    Job job;
    std::unique_ptr<Fence> fence;
    std::vector<Job::Copy> copies;
  };

  void issue();     // thread 1: hands steps to the device
  void complete();  // thread 2: waits for the device; starts with the first fence
  void start_job(Job job);

  std::shared_ptr<Backend> backend_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> jobs_;
  std::deque<Pending> pending_;
  bool stop_ = false;
  bool issued_all_ = false;
  std::thread issuer_;
  std::thread completer_;
};

}  // namespace fewbit
