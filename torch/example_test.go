package torch_test

import (
	"fmt"
	"log"

	"github.com/goclip/goclip/torch"
)

// Tensors live in a scope and are freed with it; operators read as in PyTorch.
func Example() {
	err := torch.Do(func(s *torch.Scope) {
		x := torch.FromSlice(s, []float32{1, 2, 3, 4}, 2, 2)
		y := x.MatMul(x.T()).Softmax(1)
		fmt.Println(y)
		fmt.Println(y.Summary(), torch.ToSlice[float32](y.SumDim(1)))
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output:
	// tensor([[2.4726e-03, 9.9753e-01],
	//         [8.3153e-07, 1.0000e+00]])
	// float32[2 2] [1 1]
}

// A gradient, and a parameter that outlives the scope.
func ExampleTensor_Backward() {
	w := torch.FromSlice(nil, []float32{2, 3}, 2).SetRequiresGrad(true) // no scope: the garbage collector owns it
	err := torch.Do(func(s *torch.Scope) {
		x := torch.FromSlice(s, []float32{5, 7}, 2)
		x.Mul(w).Sum().Backward()
		fmt.Println(torch.Grads(s, []*torch.Tensor{w})[0])
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output: tensor([5., 7.])
}

// What is made in Do is freed at its end; Keep moves a tensor out.
func ExampleDo() {
	var total *torch.Tensor
	err := torch.Do(func(s *torch.Scope) {
		x := torch.Arange(s, torch.CPU, 6).Reshape(2, 3)
		fmt.Println(x)
		total = x.SumDim(0).Keep()
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(total, total.Summary())
	// Output:
	// tensor([[0, 1, 2],
	//         [3, 4, 5]])
	// tensor([3, 5, 7]) int64[3]
}

// Parameters are written in place where no gradients are recorded.
func ExampleNoGrad() {
	w := torch.FromSlice(nil, []float32{2, 3}, 2).SetRequiresGrad(true)
	err := torch.NoGrad(func(s *torch.Scope) {
		w.Fill(1)
		fmt.Println(w)
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(torch.Do(func(s *torch.Scope) { w.Fill(2) }))
	// Output:
	// tensor([1., 1.], requires_grad=True)
	// torch: fill_(float32[2]): a leaf Variable that requires grad is being used in an in-place operation.
}

// What libtorch refuses comes back as an error that names the operator and the shapes.
func ExampleError() {
	err := torch.Do(func(s *torch.Scope) {
		x := torch.Zeros(s, torch.CPU, torch.Float32, 4, 512)
		x.Linear(torch.Zeros(s, torch.CPU, torch.Float32, 768, 256), nil)
	})
	fmt.Println(err)
	// Output: torch: linear(float32[4 512], float32[768 256]): mat1 and mat2 shapes cannot be multiplied (4x512 and 256x768)
}

// Every operator of libtorch is a line away, with or without a method of Tensor.
func ExampleNewOp() {
	cumsum := torch.NewOp("aten::cumsum")
	err := torch.NoGrad(func(s *torch.Scope) {
		fmt.Println(torch.ToSlice[float32](cumsum.Call(torch.Ones(s, torch.CPU, torch.Float32, 4), 0)))
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output: [1 2 3 4]
}
