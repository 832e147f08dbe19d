// Package torch is a thin binding to libtorch 2.11: tensors, operators, autograd, devices.
//
// # Who frees
//
// Everything enters by [Do] or [NoGrad]. They hand a function to a thread that is kept for libtorch, open a [Scope], and free at
// the end what was made in it. A result belongs to the youngest scope among its inputs, so a batch that is made from a scope takes
// all that is computed from it along. [Tidy] frees a block's temporaries early, as Python would by counting references;
// [Tensor.Keep] moves a tensor out of its scope. A tensor without a scope (a parameter) is freed by the garbage
// collector. [LiveTensors] counts handles, for leak tests.
//
// # Who may call
//
// A Scope and its tensors belong to the function that Do runs. Tensors without a scope may be read from any
// goroutine. Goroutines that load data produce Go slices, and only the function inside Do makes tensors of them.
// Calls of Do that come one after the other share a thread, with libtorch's workers and memory, whichever goroutines they
// come from; calls at the same time have a thread each and get into each other's way, so let them take turns.
//
// # Errors
//
// Operators panic with [*Error], so that model code reads as mathematics; Do and NoGrad recover it and return it.
// Every other panic reaches the caller of Do as a [*Panic]. Outside Do, an operator's panic is the caller's to recover.
//
// # Modes
//
// Whether gradients are recorded and in which precision products run is the scope's and travels with each call;
// libtorch's thread-local state is never left changed. An operator on tensors without any scope records gradients;
// [Scope.Alias] brings such tensors into a scope.
package torch
