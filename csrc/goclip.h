// goclip.h: the C ABI of goclip over libtorch. Plain C, used by packages torch and torch/distributed alone.
//
// Rules:
//   - A returned string is an error message, to be freed with gc_free_message; NULL is success.
//   - A gc_tensor* is one owned reference to a tensor; NULL stands for an undefined tensor.
//     "new" marks an out parameter that hands over a reference, everything else is borrowed.
//   - No C++ exception and no thread-local mode outlives a call.
#ifndef GOCLIP_H
#define GOCLIP_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct gc_tensor gc_tensor;  // a c10::TensorImpl that we hold one reference to
typedef struct gc_op gc_op;          // an operator and the types of its arguments, never freed
typedef struct gc_object gc_object;  // an object of a C++ class that operators hand out, such as packed weights

// One argument or result of an operator. Lists lie in the call's pool, so that a call passes three flat arrays and
// no array holds a pointer to another: `bits` is then the offset of the list in the pool and `n` its length.
typedef enum {
  GC_NONE = 0,
  GC_TENSOR = 1,       // bits: gc_tensor*
  GC_INT = 2,          // bits: the value
  GC_DOUBLE = 3,       // bits: the value's bits
  GC_BOOL = 4,         // bits: 0 or 1
  GC_INTS = 5,         // pool: values
  GC_DOUBLES = 6,      // pool: bits
  GC_TENSORS = 7,      // pool: gc_tensor*
  GC_OPT_TENSORS = 8,  // pool: gc_tensor* or 0
  GC_STRING = 9,       // pool: bytes, eight to a word; n counts bytes
  GC_DEVICE = 10,      // n: c10::DeviceType, bits: index
  GC_BOOLS = 11,       // pool: 0 or 1
  GC_OBJECT = 12,      // bits: gc_object*
  GC_OPAQUE = 13,      // a result that is none of the above
} gc_tag;

typedef struct {
  int32_t tag;
  int32_t n;
  int64_t bits;
} gc_value;

// The mode a call runs in: set by guards inside the call and gone after it.
enum {
  GC_NO_GRAD = 1,
  GC_INFERENCE = 2,
  GC_BF16X3 = 8,    // for the caller: gc_call does not look at it
  GC_AUTOCAST = 4,  // with the dtype in bits 8-15 and the device type in bits 16-23
};

// Threads. A scope belongs to the thread that opened it. Where a function takes `owner`, it fails without touching
// any tensor unless it runs on that thread; 0 is everybody's.
uint32_t gc_thread(void);                   // this thread's number, never 0
uint32_t gc_adopt_thread(uint32_t number);  // gives this thread another number, and returns its own
uint32_t gc_enter(uint32_t mode);  // with GC_NO_GRAD, no call of this thread records gradients; returns the mode before

// Operators.
char *gc_find(const char *name, const char *overload, const gc_op **op);
char *gc_call(const gc_op *op, uint32_t mode, uint32_t owner, const gc_value *args, int32_t n, const int64_t *pool,
              gc_value *outs, int32_t cap, int32_t *nouts,
              gc_value **spill /* results beyond cap, to be freed with gc_free_spill */);
void gc_free_spill(gc_value *spill);
void gc_free_object(gc_object *object);
void gc_free_message(char *message);

// Life cycle.
void gc_free(gc_tensor **ts, size_t n);
gc_tensor *gc_retain(gc_tensor *t);  // new
int64_t gc_live(void);               // handles not yet freed
char *gc_from_host(const void *data, size_t bytes, int32_t dtype, const int64_t *shape, int32_t dims,
                   gc_tensor **out /* new */);
char *gc_from_memory(void *data, int32_t dtype, int64_t n, void (*done)(void *context), void *context,
                     gc_tensor **out /* new: n numbers at data, which it shares until it calls done */);
char *gc_to_host(const gc_tensor *t, void *dst, size_t bytes);
char *gc_write(const gc_tensor *t, size_t offset, const void *data,
               size_t bytes);  // into a contiguous tensor on the CPU
char *gc_shape(const gc_tensor *t, uint32_t owner, int64_t *shape /* the first cap sizes */, int32_t cap,
               int32_t *dims);
char *gc_dtype(const gc_tensor *t, uint32_t owner, int32_t *dtype);
char *gc_device(const gc_tensor *t, uint32_t owner, int32_t *type, int32_t *index);
char *gc_item(const gc_tensor *t, double *value);
int gc_is_contiguous(const gc_tensor *t);
void *gc_to_pointer(const gc_tensor *t);                               // a new at::Tensor*, for another binding
char *gc_from_pointer(const void *tensor, gc_tensor **out /* new */);  // shares an at::Tensor*
void gc_free_pointer(void *tensor);

// A CUDA device beside its work.
void gc_lose_device(void);         // from now on nothing of a device is freed: after an error that stays
typedef struct gc_event gc_event;  // a c10::Event
typedef struct gc_graph gc_graph;  // captured work
char *gc_upload(const void *data, size_t bytes, int32_t dtype, const int64_t *shape, int32_t dims, int32_t index,
                gc_tensor **out /* new; not to be read before gc_arrive */, gc_event **arrived);
char *gc_arrive(gc_event *arrived, const gc_tensor *t);  // what the device is given to do from now on waits for t
void gc_free_event(gc_event *event);
int gc_can_capture(void);
char *gc_capture_begin(int32_t index, gc_graph **graph);
char *gc_capture_end(gc_graph *graph);  // on the thread of gc_capture_begin
char *gc_replay(gc_graph *graph);
void gc_free_graph(gc_graph *graph);

// Autograd.
char *gc_backward(const gc_tensor *t, const gc_tensor *gradient /* or NULL */, int retain_graph);
char *gc_grad(gc_tensor *const *outputs, gc_tensor *const *gradients /* or NULL */, size_t nout,
              gc_tensor *const *inputs, size_t nin, int retain_graph, gc_tensor **grads /* new */);
char *gc_grads(gc_tensor *const *ts, size_t n, gc_tensor **grads /* new, NULL where there is none */);
char *gc_set_grad(gc_tensor *t, const gc_tensor *grad /* or NULL */);
char *gc_clear_grads(gc_tensor *const *ts, size_t n);
char *gc_grad_fn(const gc_tensor *t, char **name /* new, a message; NULL for a leaf */);
char *gc_set_requires_grad(gc_tensor *t, int on);
int gc_requires_grad(const gc_tensor *t);
void gc_clear_autocast_cache(void);

// Distributed. The collectives themselves are operators: goclip::all_gather and its neighbours in distributed.cpp,
// whose argument `group` is the number that gc_group_open gives.
typedef struct gc_store gc_store;      // a client of c10d's TCPStore, and on one process its server
typedef struct gc_reducer gc_reducer;  // sums the gradients of parameters over a group while backward runs
char *gc_store_open(const char *host, int32_t port /* 0: any, if serve */, int serve, int64_t timeout_ms,
                    gc_store **store, int32_t *bound);
void gc_store_close(gc_store *store);
char *gc_store_set(gc_store *store, const char *key, const void *data, size_t n);
char *gc_store_get(gc_store *store, const char *key, void **data /* NULL: not set yet; freed with free */, size_t *n);
char *gc_group_open(gc_store *store, const char *backend, const char *prefix /* of the store's keys */, int32_t rank,
                    int32_t size, const char *address /* of this process, or ""; for nccl its device */,
                    int64_t timeout_ms, int64_t *group);
char *gc_group_check(int64_t group);                     // waits for what is under way, and says what went wrong
void gc_group_abort(int64_t group, const char *reason);  // all that waits, or will, fails with this message
void gc_group_close(int64_t group);                      // an aborted group's threads are left to the process's end
char *gc_reducer_open(int64_t group, void *const *params /* at::Tensor*, which it shares */, size_t n,
                      int64_t bucket_bytes, gc_reducer **reducer);
char *gc_reducer_prepare(gc_reducer *reducer);
char *gc_reducer_finish(gc_reducer *reducer, int32_t *buckets, int32_t *early /* sent while backward computed more */);
void gc_reducer_close(gc_reducer *reducer);

// Gradient checkpointing. `again` computes a block a second time: it is given x, which requires a gradient where one is
// asked for, and side, both new, and returns the block's result as a new handle or a message.
typedef char *(*gc_recompute_fn)(uint64_t id, gc_tensor *x, gc_tensor *side /* or NULL */, gc_tensor **y /* new */);
char *gc_recompute(const gc_tensor *y, gc_tensor *const *inputs /* x, then the parameters */, size_t n,
                   const gc_tensor *side /* or NULL */, uint64_t id, gc_recompute_fn again,
                   gc_tensor **out /* new, y with the node behind it */);
size_t gc_gone(uint64_t *ids, size_t cap);  // takes ids of nodes that have been freed

// The process.
void gc_become_worker(void);  // marks the calling thread
int32_t gc_on_worker(void);   // whether the calling thread is marked
void gc_set_threads(int32_t n);
char *gc_manual_seed(uint64_t seed);
char *gc_rng_state(int32_t device_type, int32_t index, gc_tensor **out /* new, bytes */);
char *gc_set_rng_state(int32_t device_type, int32_t index, const gc_tensor *state);
// How many devices there are; if CUDA cannot count them, none and its error.
char *gc_open_cuda(int32_t *devices, int32_t *failed);
char *gc_cuda_capability(int32_t index, int32_t *capability /* 80 for 8.0 */, int32_t *runtime /* 13000 for 13.0 */);
int gc_knows_cuda(void);                            // libtorch_cuda.so lies beside libtorch_cpu.so
const char *gc_version(void);                       // of the headers that this was compiled with
char *gc_bf16x3(void);                              // why goclip::linear and its neighbours cannot run, or NULL
char *gc_config(char **text /* new, a message */);  // a description of the libtorch that was loaded

#ifdef __cplusplus
}
#endif
#endif
