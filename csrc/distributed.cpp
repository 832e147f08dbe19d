// distributed.cpp: c10d's store and process groups, and the collectives as operators of the dispatcher, so that mode,
// autograd, ownership and errors are those of every other operator.
#include <signal.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/library.h>

#include <thread>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <unordered_map>

#include "group.h"
#include "guard.h"

using namespace goclip;

namespace {

using std::chrono::milliseconds;

// When a connection breaks, who died is known a moment later: a failed collective waits so long for abort to say it.
constexpr milliseconds grace{5000};

// So often check asks a device whether its collectives are done: nothing else tells of it.
constexpr std::chrono::microseconds poll_interval{50};

// While it lives, threads that are started take over that SIGPIPE is blocked: one of them that writes to a rank that
// died then gets EPIPE, and the error says so. Go's runtime would end the process, without a word, for a thread that it
// did not start.
class NoSigpipe {
 public:
  NoSigpipe() {
    sigset_t pipe;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, &before_);
  }
  ~NoSigpipe() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_;
};

std::mutex groups_mutex;
std::unordered_map<int64_t, std::shared_ptr<Group>> groups;
int64_t last_group = 0;

c10d::Store &as_store(gc_store *s) { return *reinterpret_cast<c10d::Store *>(s); }

c10::intrusive_ptr<c10d::Backend> gloo_backend(const c10::intrusive_ptr<c10d::Store> &store, int rank, int size,
                                               const std::string &address, milliseconds timeout) {
  using c10d::ProcessGroupGloo;
  using Options = ProcessGroupGloo::Options;
  auto options = address.empty() ? Options::create_default(timeout) : Options::create(timeout);
  if (!address.empty()) options->devices.push_back(ProcessGroupGloo::createDeviceForHostname(address));
  return c10::make_intrusive<ProcessGroupGloo>(store, rank, size, options);
}

}  // namespace

Group::Group(c10::intrusive_ptr<c10d::Backend> backend, milliseconds timeout, bool on_device)
    : backend_(std::move(backend)), timeout_(timeout), on_device_(on_device) {}

// A backend's destructor waits for the collectives under way, which without all ranks never end.
Group::~Group() {
  if (events_->aborted) {
    (void)backend_.release();
  } else if (on_device_ && !device_lost) {
    gc_free_message(guard([&] { backend_->shutdown(); }));  // all ranks are here, and none waits for anything more
  }
}

Group::Pending Group::watch(c10::intrusive_ptr<c10d::Work> work) {
  if (on_device_) {
    const std::lock_guard<std::mutex> lock(events_->mutex);
    flight_.add(work);
    return {work, nullptr};
  }
  Pending p{work, work->getFuture()};
  p.future->addCallback(
      [events = events_](c10::ivalue::Future &) {
        const std::lock_guard<std::mutex> lock(events->mutex);
        events->changed.notify_all();
      },
      /*uses_future=*/false);
  return p;
}

Group::Pending Group::all_reduce(const at::Tensor &t) {
  std::vector<at::Tensor> list{t};
  return watch(backend_->allreduce(list));
}

Group::Pending Group::broadcast(const at::Tensor &t, int root) {
  std::vector<at::Tensor> list{t};
  c10d::BroadcastOptions options;
  options.rootRank = root;
  return watch(backend_->broadcast(list, options));
}

Group::Pending Group::all_gather(at::Tensor in, at::Tensor out) { return watch(backend_->_allgather_base(out, in)); }

// settle throws what went wrong, if anything did. heard is false when the time is over.
void Group::settle(std::unique_lock<std::mutex> &lock, bool heard, const std::exception_ptr &failed) {
  auto &e = *events_;
  if (!e.aborted && failed) e.changed.wait_for(lock, grace, [&] { return e.aborted; });
  if (e.aborted) C10_THROW_ERROR(Error, e.reason);
  TORCH_CHECK(heard, "not every rank took part within ", timeout_.count() / 1000.0, " s");
  if (failed) std::rethrow_exception(failed);
}

void Group::wait(const Pending &pending) {
  std::unique_lock<std::mutex> lock(events_->mutex);
  if (on_device_) {
    settle(lock, /*heard=*/true, flight_.failure());
  } else {
    const auto &future = *pending.future;
    const bool heard =
        events_->changed.wait_for(lock, timeout_, [&] { return events_->aborted || future.completed(); });
    settle(lock, heard, future.hasError() ? future.exception_ptr() : nullptr);
  }
  lock.unlock();
  pending.work->synchronize();
}

void Group::check() {
  std::unique_lock<std::mutex> lock(events_->mutex);
  const auto end = std::chrono::steady_clock::now() + timeout_;
  const auto over = [&] { return events_->aborted || flight_.landed(); };
  bool heard = over();
  while (!heard && std::chrono::steady_clock::now() < end) {
    events_->changed.wait_for(lock, poll_interval);
    heard = over();
  }
  settle(lock, heard, flight_.failure());
}

void Group::abort(const std::string &reason) {
  {
    const std::lock_guard<std::mutex> lock(events_->mutex);
    if (events_->aborted) return;
    events_->aborted = true;
    events_->reason = reason;
    events_->changed.notify_all();
  }
  // A kernel that waits for the rank that is gone holds up its device until the communicator ends. That may take long,
  // and nobody waits for it: the process is about to end.
  if (on_device_) std::thread([backend = backend_] { gc_free_message(guard([&] { backend->abort(); })); }).detach();
}

std::shared_ptr<Group> goclip::find_group(int64_t number) {
  const std::lock_guard<std::mutex> lock(groups_mutex);
  const auto it = groups.find(number);
  TORCH_CHECK(it != groups.end(), "the process group is closed");
  return it->second;
}

extern "C" {

char *gc_store_open(const char *host, int32_t port, int serve, int64_t timeout_ms, gc_store **store, int32_t *bound) {
  return guard([&] {
    c10d::TCPStoreOptions options;
    options.port = static_cast<uint16_t>(port);
    options.isServer = serve != 0;
    options.waitWorkers = false;
    options.timeout = milliseconds(timeout_ms);
    const NoSigpipe quiet;
    auto s = c10::make_intrusive<c10d::TCPStore>(host, options);
    *bound = s->getPort();
    *store = reinterpret_cast<gc_store *>(static_cast<c10d::Store *>(s.release()));
  });
}

void gc_store_close(gc_store *store) { c10::intrusive_ptr<c10d::Store>::reclaim(&as_store(store)); }

char *gc_store_set(gc_store *store, const char *key, const void *data, size_t n) {
  return guard([&] {
    const auto *bytes = static_cast<const uint8_t *>(data);
    as_store(store).set(key, std::vector<uint8_t>(bytes, bytes + n));
  });
}

char *gc_store_get(gc_store *store, const char *key, void **data, size_t *n) {
  return guard([&] {
    *data = nullptr;
    if (!as_store(store).check({key})) return;
    const auto value = as_store(store).get(key);
    *n = value.size();
    *data = malloc(value.size() + 1);
    std::copy(value.begin(), value.end(), static_cast<uint8_t *>(*data));
  });
}

char *gc_group_open(gc_store *store, const char *backend, const char *prefix, int32_t rank, int32_t size,
                    const char *address, int64_t timeout_ms, int64_t *number) {
  return guard([&] {
    auto keys =
        c10::make_intrusive<c10d::PrefixStore>(prefix, c10::intrusive_ptr<c10d::Store>::reclaim_copy(&as_store(store)));
    const bool nccl = std::string(backend) == "nccl";
    TORCH_CHECK(std::string(backend) == "gloo" || (nccl && nccl_backend != nullptr), "the backend ", backend,
                " is not built in");
    // The backend's own clock runs a little longer, so that the group's wait says first, and in one way, that time is
    // over.
    const auto open = nccl ? &nccl_backend : &gloo_backend;
    const milliseconds timeout(timeout_ms);
    const NoSigpipe quiet;
    auto group = std::make_shared<Group>(open(keys, rank, size, address, timeout + grace), timeout, nccl);
    const std::lock_guard<std::mutex> lock(groups_mutex);
    *number = ++last_group;
    groups[*number] = std::move(group);
  });
}

char *gc_group_check(int64_t number) {
  return guard([&] { find_group(number)->check(); });
}

void gc_group_abort(int64_t number, const char *reason) {
  gc_free_message(guard([&] { find_group(number)->abort(reason); }));  // a closed group has nobody waiting
}

void gc_group_close(int64_t number) {
  std::shared_ptr<Group> last;  // destroyed outside the lock: gloo's threads are joined
  const std::lock_guard<std::mutex> lock(groups_mutex);
  const auto it = groups.find(number);
  if (it == groups.end()) return;
  last = std::move(it->second);
  groups.erase(it);
}

}  // extern "C"

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::Tensor gather(const at::Tensor &t, int64_t number) {
  const auto group = find_group(number);
  TORCH_CHECK(t.dim() > 0, "a scalar has no rows to gather");
  auto shape = t.sizes().vec();
  shape[0] *= group->size();
  auto out = at::empty(shape, t.options());
  group->wait(group->all_gather(t.detach().contiguous(), out));
  return out;
}

// Gloo has no reduce-scatter of its own: c10d's too is a sum of everything, of which each rank keeps its share.
at::Tensor scatter(const at::Tensor &t, int64_t number) {
  const auto group = find_group(number);
  TORCH_CHECK(t.dim() > 0 && t.size(0) % group->size() == 0, "the rows cannot be shared out evenly among ",
              group->size(), " ranks");
  const auto sum = t.detach().clone(at::MemoryFormat::Contiguous);
  group->wait(group->all_reduce(sum));
  const auto rows = t.size(0) / group->size();
  return sum.narrow(0, group->rank() * rows, rows).clone();
}

// A rank's rows reach the losses of all ranks, whose sum is the loss: their gradient is the sum of what the ranks have.
struct AllGather : torch::autograd::Function<AllGather> {
  static at::Tensor forward(AutogradContext *ctx, const at::Tensor &t, int64_t group) {
    ctx->saved_data["group"] = group;
    return gather(t, group);
  }
  static variable_list backward(AutogradContext *ctx, const variable_list &grads) {
    return {scatter(grads[0], ctx->saved_data["group"].toInt()), at::Tensor()};
  }
};

at::Tensor all_gather(const at::Tensor &t, int64_t group) { return AllGather::apply(t, group); }

at::Tensor reduce_scatter(const at::Tensor &t, int64_t group) {
  TORCH_CHECK(!at::GradMode::is_enabled() || !t.requires_grad(), "no gradient flows through reduce_scatter");
  return scatter(t, group);
}

// in_place runs a collective that overwrites each tensor, all of them at once.
template <class Start>
void in_place(Group &group, at::TensorList ts, Start start) {
  std::vector<Group::Pending> pending;
  std::vector<std::pair<at::Tensor, at::Tensor>> copies;
  const at::NoGradGuard no_grad;
  for (const auto &t : ts) {
    TORCH_CHECK(!t.requires_grad() || t.is_leaf(), "a tensor that depends on others with a gradient would lose it");
    auto flat = t.detach().contiguous();
    if (!t.is_contiguous()) copies.emplace_back(t.detach(), flat);
    if (!t.is_inference()) torch::autograd::impl::bump_version(t);
    pending.push_back(start(flat));
  }
  for (const auto &p : pending) group.wait(p);
  for (auto &[t, flat] : copies) t.copy_(flat);
}

void all_reduce_(at::TensorList ts, int64_t number) {
  const auto group = find_group(number);
  in_place(*group, ts, [&](const at::Tensor &t) { return group->all_reduce(t); });
}

void broadcast_(at::TensorList ts, int64_t root, int64_t number) {
  const auto group = find_group(number);
  in_place(*group, ts, [&](const at::Tensor &t) { return group->broadcast(t, static_cast<int>(root)); });
}

}  // namespace

TORCH_LIBRARY(goclip, m) {
  m.def("all_gather(Tensor t, int group) -> Tensor", all_gather);
  m.def("reduce_scatter(Tensor t, int group) -> Tensor", reduce_scatter);
  m.def("all_reduce_(Tensor(a!)[] ts, int group) -> ()", all_reduce_);
  m.def("broadcast_(Tensor(a!)[] ts, int root, int group) -> ()", broadcast_);
}
