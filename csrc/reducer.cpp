// reducer.cpp: the sum of all ranks' gradients, taken bucket by bucket while backward still computes the next ones
// (PyTorch Distributed, Li et al., arXiv 2006.15704, section 3.2).
#include <ATen/ATen.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <algorithm>
#include <numeric>

#include "group.h"
#include "guard.h"

using namespace goclip;

namespace {

// Every rank has the same parameters and the same graph, and sends bucket 0 first, then bucket 1, and so on. Parameters
// lie in the buckets in the order in which the first backward finished them; those that it did not reach come last,
// where they hold nothing up.
class Reducer {
 public:
  Reducer(std::shared_ptr<Group> group, std::vector<at::Tensor> params, int64_t bucket_bytes)
      : group_(std::move(group)), params_(std::move(params)), bucket_bytes_(bucket_bytes) {
    std::vector<size_t> order(params_.size());
    std::iota(order.rbegin(), order.rend(), 0);  // backward meets the last layers first
    fill(order);
    for (const auto &p : params_) {
      TORCH_CHECK(p.is_leaf() && p.requires_grad(), "only parameters that require a gradient have one to reduce");
      TORCH_CHECK(!torch::autograd::impl::post_acc_grad_hooks(p),
                  "a parameter is in another reducer already, or twice in this one");
    }
    for (size_t i = 0; i < params_.size(); i++) {
      torch::autograd::impl::set_post_acc_grad_hooks(params_[i], std::make_unique<Hook>(this, i));
    }
  }

  ~Reducer() {
    for (const auto &p : params_) torch::autograd::impl::set_post_acc_grad_hooks(p, nullptr);
  }

  void prepare() {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (auto &b : buckets_) b.ready = 0, b.flat.reset(), b.pending = {};
    ready_.assign(params_.size(), false);
    used_.assign(params_.size(), 0);
    next_ = 0;
    finished_order_.clear();
    armed_ = true;
  }

  void finish(int32_t *buckets, int32_t *early) {
    const std::lock_guard<std::mutex> lock(mutex_);
    TORCH_CHECK(armed_, "prepare comes before the last backward, and finish after it");
    armed_ = false;
    const at::NoGradGuard no_grad;
    *buckets = static_cast<int32_t>(buckets_.size());
    *early = 0;
    for (size_t i = 0; i < next_; i++) *early += buckets_[i].sent_after < finished_order_.size();
    while (next_ < buckets_.size()) send(buckets_[next_++]);
    const bool all_used = std::find(used_.begin(), used_.end(), 0) == used_.end();
    const auto numbers = params_[0].options().dtype(at::kLong).requires_grad(false);
    const auto used = all_used ? at::ones({static_cast<int64_t>(used_.size())}, numbers) : share(used_);
    const auto counted = group_->all_reduce(used);
    for (auto &b : buckets_) group_->wait(b.pending);
    group_->wait(counted);
    // What no rank used has no gradient, as in one process: the optimiser then leaves it alone. A rank that used all
    // need not read, which would wait for the device.
    if (!all_used) {
      used_ = read(used);
      group_->check();
    }
    for (size_t i = 0; i < params_.size(); i++) {
      if (used_[i] == 0) params_[i].mutable_grad().reset();
    }
    for (auto &b : buckets_) b.flat.reset(), b.pending = {};
    if (!ordered_) reorder();
  }

 private:
  struct Bucket {
    std::vector<size_t> params;
    int64_t elements = 0;
    size_t ready = 0;       // of the parameters
    size_t sent_after = 0;  // so many parameters of the model were ready
    at::Tensor flat;
    Group::Pending pending;
  };

  struct Hook : torch::autograd::PostAccumulateGradHook {
    Hook(Reducer *reducer, size_t param) : reducer(reducer), param(param) {}
    void operator()(const at::Tensor &) override { reducer->accumulated(param); }
    Reducer *reducer;
    size_t param;
  };

  // accumulated hears that a parameter's gradient of this backward is complete.
  void accumulated(size_t param) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!armed_) return;
    auto &mine = buckets_[bucket_of_[param]];
    TORCH_CHECK(
        !mine.flat.defined(),
        "a parameter had its gradient sent and got one more: prepare comes before the last backward of a step only");
    if (ready_[param]) return;
    ready_[param] = true;
    finished_order_.push_back(param);
    mine.ready++;
    const at::NoGradGuard no_grad;
    while (next_ < buckets_.size() && buckets_[next_].ready == buckets_[next_].params.size()) send(buckets_[next_++]);
  }

  // send copies the bucket's gradients behind one another and begins their sum. The parameters' gradients are then the
  // parts of that copy, so nothing is copied back and a gradient's own memory is free at once.
  void send(Bucket &b) {
    b.flat = at::empty({b.elements}, params_[b.params[0]].options().requires_grad(false));
    int64_t at = 0;
    for (const size_t i : b.params) {
      const auto &p = params_[i];
      auto part = b.flat.narrow(0, at, p.numel()).view(p.sizes());
      at += p.numel();
      auto &grad = p.mutable_grad();
      if (grad.defined()) {
        TORCH_CHECK(!grad.is_sparse(), "a sparse gradient cannot be reduced");
        part.copy_(grad);
        used_[i] = 1;
      } else {
        part.zero_();
      }
      grad = std::move(part);
    }
    b.sent_after = finished_order_.size();
    b.pending = group_->all_reduce(b.flat);
  }

  // fill makes the buckets: neighbours in `order` of one type and device, up to bucket_bytes_ or a single parameter.
  void fill(const std::vector<size_t> &order, size_t reached = 0) {
    buckets_.clear();
    bucket_of_.assign(params_.size(), 0);
    for (size_t k = 0; k < order.size(); k++) {
      const auto &p = params_[order[k]];
      bool fits = !buckets_.empty() && k != reached;
      if (fits) {
        const auto &b = buckets_.back();
        const auto &first = params_[b.params[0]];
        fits = first.scalar_type() == p.scalar_type() && first.device() == p.device() &&
               (b.elements + p.numel()) * static_cast<int64_t>(p.element_size()) <= bucket_bytes_;
      }
      if (!fits) buckets_.emplace_back();
      buckets_.back().params.push_back(order[k]);
      buckets_.back().elements += p.numel();
      bucket_of_[order[k]] = buckets_.size() - 1;
    }
  }

  // reorder fills the buckets again, in rank 0's order, so that all ranks have one.
  void reorder() {
    std::vector<bool> reached(params_.size(), false);
    std::vector<int64_t> order{static_cast<int64_t>(finished_order_.size())};
    for (const size_t i : finished_order_) order.push_back(static_cast<int64_t>(i)), reached[i] = true;
    for (size_t i = params_.size(); i-- > 0;) {
      if (!reached[i]) order.push_back(static_cast<int64_t>(i));
    }
    const auto shared = share(order);
    group_->wait(group_->broadcast(shared, 0));
    order = read(shared);
    group_->check();
    fill(std::vector<size_t>(order.begin() + 1, order.end()), static_cast<size_t>(order[0]));
    ordered_ = true;
  }

  // share puts numbers where the backend reads, read brings them back.
  at::Tensor share(std::vector<int64_t> &numbers) const {
    return at::tensor(numbers, at::kLong).to(params_[0].device(), /*non_blocking=*/true);
  }
  static std::vector<int64_t> read(const at::Tensor &shared) {
    const auto host = shared.cpu();
    return {host.data_ptr<int64_t>(), host.data_ptr<int64_t>() + host.numel()};
  }

  const std::shared_ptr<Group> group_;
  const std::vector<at::Tensor> params_;
  const int64_t bucket_bytes_;
  std::mutex mutex_;  // hooks run on a device's autograd thread
  std::vector<Bucket> buckets_;
  std::vector<size_t> bucket_of_;  // of each parameter
  std::vector<bool> ready_;
  std::vector<size_t> finished_order_;
  std::vector<int64_t> used_;  // 1 where this rank has a gradient, then on how many ranks there is one
  size_t next_ = 0;            // the bucket to send next
  bool armed_ = false;
  bool ordered_ = false;
};

Reducer *as_reducer(gc_reducer *r) { return reinterpret_cast<Reducer *>(r); }

}  // namespace

extern "C" {

char *gc_reducer_open(int64_t group, void *const *params, size_t n, int64_t bucket_bytes, gc_reducer **reducer) {
  return guard([&] {
    std::vector<at::Tensor> list;
    for (size_t i = 0; i < n; i++) list.push_back(*static_cast<const at::Tensor *>(params[i]));
    *reducer = reinterpret_cast<gc_reducer *>(new Reducer(find_group(group), std::move(list), bucket_bytes));
  });
}

char *gc_reducer_prepare(gc_reducer *r) {
  return guard([&] { as_reducer(r)->prepare(); });
}

char *gc_reducer_finish(gc_reducer *r, int32_t *buckets, int32_t *early) {
  return guard([&] { as_reducer(r)->finish(buckets, early); });
}

void gc_reducer_close(gc_reducer *r) { delete as_reducer(r); }

}  // extern "C"
