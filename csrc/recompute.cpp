// recompute.cpp: gradient checkpointing, a node of the graph that computes its block again in the backward pass.
#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>

#include <mutex>

#include "guard.h"

using namespace goclip;
using torch::autograd::SavedVariable;
using torch::autograd::variable_list;

namespace {

// The nodes that are gone. A graph is freed in the middle of other calls, where Go must not be called back, so Go asks.
std::mutex gone_mutex;
std::vector<uint64_t> gone;

at::Tensor take(gc_tensor *t) {
  at::Tensor out = ref(t);
  gc_free(&t, 1);
  return out;
}

// Recompute has the block's input and parameters as its own inputs, so that it is reached also where only one of them
// needs a gradient. What it saves is checked for writes in between, as every node's is.
struct Recompute : torch::autograd::Node {
  uint64_t id;
  gc_recompute_fn again;
  std::vector<SavedVariable> inputs;  // x, then the parameters
  SavedVariable side;

  Recompute(torch::autograd::edge_list &&edges, uint64_t id, gc_recompute_fn again)
      : Node(std::move(edges)), id(id), again(again) {}

  ~Recompute() override {
    const std::lock_guard<std::mutex> lock(gone_mutex);
    gone.push_back(id);
  }

  std::string name() const override { return "Recompute"; }

  variable_list apply(variable_list &&gradients) override {
    variable_list results(inputs.size());
    if (!gradients[0].defined()) return results;
    const at::Tensor beside = side.unpack();
    variable_list asked;
    std::vector<size_t> places;
    at::Tensor x = inputs[0].unpack().detach();
    if (task_should_compute_output(0)) {
      x.set_requires_grad(true);
      asked.push_back(x);
      places.push_back(0);
    }
    for (size_t i = 1; i < inputs.size(); i++) {
      at::Tensor p = inputs[i].unpack();
      if (!task_should_compute_output(i)) continue;
      asked.push_back(std::move(p));
      places.push_back(i);
    }
    {
      // The block gets no leaf: autocast would keep one copy of it for all its uses and add up gradients in bfloat16.
      c10::AutoGradMode recording(true);
      x = x.alias();
    }
    gc_tensor *y = nullptr;
    char *message = again(id, own(std::move(x)), own(at::Tensor(beside)), &y);
    if (message != nullptr) {
      const std::string text(message);
      free(message);
      TORCH_CHECK(false, text);
    }
    variable_list found = torch::autograd::grad({take(y)}, asked, {gradients[0]}, /*retain_graph=*/std::nullopt,
                                                /*create_graph=*/false, /*allow_unused=*/true);
    for (size_t i = 0; i < places.size(); i++) results[places[i]] = std::move(found[i]);
    return results;
  }

  void release_variables() override {
    for (SavedVariable &v : inputs) v.reset_data();
    side.reset_data();
  }
};

}  // namespace

extern "C" {

char *gc_recompute(const gc_tensor *y, gc_tensor *const *inputs, size_t n, const gc_tensor *side, uint64_t id,
                   gc_recompute_fn again, gc_tensor **out) {
  return guard([&] {
    torch::autograd::edge_list edges;
    for (size_t i = 0; i < n; i++) edges.push_back(torch::autograd::impl::gradient_edge(ref(inputs[i])));
    std::shared_ptr<Recompute> node(new Recompute(std::move(edges), id, again), torch::autograd::deleteNode);
    for (size_t i = 0; i < n; i++) node->inputs.emplace_back(ref(inputs[i]), /*is_output=*/false);
    node->side = SavedVariable(ref(side), /*is_output=*/false);
    at::Tensor result = ref(y).variable_data();  // no view of another tensor, whatever y is
    torch::autograd::set_history(result, node);
    *out = own(std::move(result));
  });
}

size_t gc_gone(uint64_t *ids, size_t cap) {
  const std::lock_guard<std::mutex> lock(gone_mutex);
  const size_t n = std::min(cap, gone.size());
  std::copy(gone.end() - n, gone.end(), ids);
  gone.resize(gone.size() - n);
  return n;
}

}  // extern "C"
