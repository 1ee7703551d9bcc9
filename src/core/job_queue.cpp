#include "job_queue.h"

#include <cstring>

namespace fewbit {

JobQueue::JobQueue(std::shared_ptr<Backend> backend)
    : backend_(std::move(backend)),
      issuer_([this] { issue(); }),
      completer_([this] { complete(); }) {}

JobQueue::~JobQueue() {
  std::deque<Job> dropped;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
    dropped.swap(jobs_);
  }
  changed_.notify_all();
  issuer_.join();
  completer_.join();
  for (Job& job : dropped) {
    job.done(Error("ERR_FEWBIT_DISPOSED", "the device was disposed before this job could start"));
  }
}

void JobQueue::push(Job job) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    jobs_.push_back(std::move(job));
  }
  changed_.notify_all();
}

void JobQueue::issue() {
  for (;;) {
    Job job;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      changed_.wait(lock, [this] { return stop_ || !jobs_.empty(); });
      if (stop_) {
        issued_all_ = true;
        break;
      }
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    start_job(std::move(job));
  }
  changed_.notify_all();
}

void JobQueue::start_job(Job job) {
  Pending pending;
  std::optional<Error> failure;
  try {
    for (Job::Step& step : job.steps) {
      std::lock_guard<std::recursive_mutex> lock(backend_->mutex());
      step(pending.copies);
    }
    std::lock_guard<std::recursive_mutex> lock(backend_->mutex());
    pending.fence = backend_->fence();
  } catch (const Error& error) {
    failure = error;
  } catch (const std::exception& error) {
    failure = Error("ERR_FEWBIT_INTERNAL", error.what());
  }
  // What the steps hold on to is let go before anybody hears that the job is done.
  job.steps.clear();
  if (failure || !pending.fence) {
    job.done(failure);
    return;
  }
  pending.job = std::move(job);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    pending_.push_back(std::move(pending));
  }
  changed_.notify_all();
}

void JobQueue::complete() {
  for (;;) {
    Pending pending;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      changed_.wait(lock, [this] { return issued_all_ || !pending_.empty(); });
      if (pending_.empty()) return;
      pending = std::move(pending_.front());
      pending_.pop_front();
    }
    std::optional<Error> failure;
    try {
      backend_->wait(*pending.fence);
      for (const Job::Copy& copy : pending.copies) {
        std::memcpy(copy.to, copy.pinned.get(), copy.bytes);
      }
    } catch (const Error& error) {
      failure = error;
    }
    pending.job.done(failure);
  }
}

}  // namespace fewbit
