package clip

import (
	"cmp"
	"iter"
	"maps"
	"slices"
)

// Confusion counts what a classifier took images of known classes for.
type Confusion struct {
	N       int // images
	classes []int
	right   []int // correct first predictions of each class
	inFive  int
	cells   map[[2]int]int
}

// NewConfusion counts nothing yet, for a number of classes.
func NewConfusion(classes int) *Confusion {
	return &Confusion{classes: make([]int, classes), right: make([]int, classes), cells: map[[2]int]int{}}
}

// Add counts an image of class, with its predictions as [Classifier.Top] gives them: five, or all classes if there are fewer.
func (c *Confusion) Add(class int, predictions []Prediction) {
	c.N++
	c.classes[class]++
	c.cells[[2]int{class, predictions[0].Class}]++
	switch place := slices.IndexFunc(predictions[:min(5, len(predictions))], func(g Prediction) bool { return g.Class == class }); {
	case place == 0:
		c.right[class]++
		c.inFive++
	case place > 0:
		c.inFive++
	}
}

// Top1 returns the fraction of images whose class was the first prediction.
func (c *Confusion) Top1() float64 {
	right := 0
	for _, n := range c.right {
		right += n
	}
	return float64(right) / float64(max(c.N, 1))
}

// Top5 returns the fraction of images whose class was among the first five predictions.
func (c *Confusion) Top5() float64 { return float64(c.inFive) / float64(max(c.N, 1)) }

// MeanPerClass returns the mean recall of the classes that have images:
// scikit-learn's balanced_accuracy_score to the last digit.
func (c *Confusion) MeanPerClass() float64 {
	var recalls []float64
	for i, n := range c.classes {
		if n > 0 {
			recalls = append(recalls, float64(c.right[i])/float64(n))
		}
	}
	return sum(recalls) / float64(max(len(recalls), 1))
}

// sum adds numbers in NumPy's order (pairwise_sum in loops_utils.h.src).
func sum(x []float64) (total float64) {
	n := len(x)
	switch {
	case n < 8:
		for _, v := range x {
			total += v
		}
		return total
	case n > 128:
		half := n / 2
		half -= half % 8
		return sum(x[:half]) + sum(x[half:])
	}
	r := [8]float64(x[:8])
	whole := n - n%8
	for i := 8; i < whole; i++ {
		r[i%8] += x[i]
	}
	total = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]))
	for _, v := range x[whole:] {
		total += v
	}
	return total
}

// Counts yields, for each pair of a class and a first prediction that occurred, how many images it had:
// in the order of the classes and then of the predictions.
func (c *Confusion) Counts() iter.Seq2[[2]int, int] {
	return func(yield func([2]int, int) bool) {
		pairs := slices.SortedFunc(maps.Keys(c.cells), func(a, b [2]int) int { return cmp.Or(a[0]-b[0], a[1]-b[1]) })
		for _, pair := range pairs {
			if !yield(pair, c.cells[pair]) {
				return
			}
		}
	}
}
