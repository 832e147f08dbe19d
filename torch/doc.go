// Package torch is a thin binding to libtorch 2.11: tensors, operators, autograd, devices.
//
//	err := torch.Do(func(s *torch.Scope) {
//		x := torch.Randn(s, torch.CPU, 4, 512)
//		y := x.Linear(weight, bias).Gelu()
//		fmt.Println(y)
//	})
//
// Package nn has layers, package optim optimisers. An operator without a method is one line away:
// [NewOp].
//
// # Who frees
//
// [Do] and [NoGrad] open a [Scope], run a function, and free at its end what was made in it. A
// result belongs to the youngest scope among its inputs, so that model code need not name a scope:
// what is computed from a batch goes with the batch. A tensor without a scope, such as a parameter,
// is freed by the garbage collector. [LiveTensors] counts what is not freed yet.
//
//	call                   gives                              is freed
//	torch.Zeros(s, ...)    a tensor of the scope s            when s ends
//	torch.Zeros(nil, ...)  a tensor without a scope           by the garbage collector
//	x.Exp()                a result in the scope of x         with that scope
//	s.Alias(p)             p under another name, in s         with p, which it keeps alive
//	x.Borrow(p)            s.Alias(p), s the scope of x       likewise
//	x.Keep()               x, moved out of its scope          by the garbage collector
//	torch.Tidy(f, x)       f(x), in the scope of x            what else f made, at once
//	x.Free()               nothing                            at once
//	x.Same(y)              whether one is an alias of the other, or both are of a third
//
// Alias and Borrow exist because a parameter has no scope: what is computed from parameters alone
// would wait for the garbage collector. Tidy exists because the scope of a batch ends late: without
// it, all layers' temporaries would live until then. Gradients keep what they need whatever is
// freed.
//
// # Gradients and modes
//
// Inside [NoGrad] and [Scope.NoGrad] nothing records gradients, and parameters may be written in
// place, as under Python's torch.no_grad. Elsewhere operators record them for what requires them
// ([Tensor.SetRequiresGrad]), and [Tensor.Backward] computes them. [Scope.Autocast] holds for the
// tensors of its scope. Both travel with each call: libtorch's thread-local state is never left
// changed.
//
// # Goroutines
//
// A scope and its tensors belong to the goroutine of their Do; any other that uses them gets an
// error. Tensors without a scope may be read from any goroutine. Goroutines that load data produce
// Go slices, and only the function inside Do makes tensors of them. Do runs its function on a
// thread that is kept for libtorch, whichever goroutine calls it. Calls at the same time have a
// thread each and compete for the CPUs, so let them take turns.
//
// # Errors
//
// Operators panic with *[Error], so that model code reads as mathematics; Do and NoGrad recover it
// and return it. It names the operator, the types and shapes of its inputs, and what is wrong.
// Every other panic reaches the caller of Do as a *[Panic]. Outside Do, an operator's panic is the
// caller's to recover. Short of running out of memory, no argument of a method or function of this
// package ends the process. An operator that is called by its name ([NewOp]) has the checks that
// libtorch has.
package torch
