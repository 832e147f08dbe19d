// Package torch is a thin binding to libtorch 2.11: tensors, operators, autograd, devices.
//
// # Who frees
//
// Everything enters by [Do] or [NoGrad]. They pin the goroutine to its thread, open a [Scope], and free at the end what
// was made in it. A result belongs to the youngest scope among its inputs, so a batch that is made from a scope takes
// all that is computed from it along. [Tidy] frees a block's temporaries early, as Python would by counting references;
// [Tensor.Keep] moves a tensor out of its scope. A tensor without a scope (a parameter) is freed by the garbage
// collector. [LiveTensors] counts handles, for leak tests.
//
// # Who may call
//
// A Scope and its tensors belong to the goroutine that runs the Do. Tensors without a scope may be read from any
// goroutine. Goroutines that load data produce Go slices, and only the goroutine inside Do makes tensors of them.
// libtorch's memory grows with every thread that runs a model: keep a training loop or an inference worker in one
// goroutine.
//
// # Errors
//
// Operators panic with [*Error], so that model code reads as mathematics; Do and NoGrad recover it and return it.
// Every other panic passes through. Outside Do, an operator's panic is the caller's to recover.
//
// # Modes
//
// Whether gradients are recorded and in which precision products run is the scope's and travels with each call;
// libtorch's thread-local state is never left changed. An operator on tensors without any scope records gradients;
// [Scope.Alias] brings such tensors into a scope.
package torch
