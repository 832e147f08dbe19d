package train

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
)

// Retrieval ranks, for each of n pictures, the n texts by cosine, and the reverse; row i of the one belongs to row i of
// the other. images and texts are L2-normalised rows (n, dim). The names are open_clip's (open_clip_train/train.py,
// get_clip_metrics); a rank counts from 0 in the mean, R@k is the share of ranks below k, and of equal similarities the
// earlier one comes first.
func Retrieval(images, texts []float32, n, dim int) map[string]float64 {
	metrics := map[string]float64{}
	summarise(metrics, "image_to_text", ranks(images, texts, n, dim))
	summarise(metrics, "text_to_image", ranks(texts, images, n, dim))
	return metrics
}

// ranks is the place of row i of against among all its rows, sorted by their product with row i of queries. No n x n
// matrix is made.
func ranks(queries, against []float32, n, dim int) []int {
	out := make([]int, n)
	var wg sync.WaitGroup
	workers := runtime.GOMAXPROCS(0)
	for w := range workers {
		wg.Go(func() {
			for i := w; i < n; i += workers {
				q := queries[i*dim : (i+1)*dim]
				own := dot(q, against[i*dim:(i+1)*dim])
				for j := range n {
					if s := dot(q, against[j*dim:(j+1)*dim]); s > own || s == own && j < i {
						out[i]++
					}
				}
			}
		})
	}
	wg.Wait()
	return out
}

func dot(a, b []float32) float32 {
	var s0, s1, s2, s3 float32
	i := 0
	for ; i+4 <= len(a); i += 4 {
		s0 += a[i] * b[i]
		s1 += a[i+1] * b[i+1]
		s2 += a[i+2] * b[i+2]
		s3 += a[i+3] * b[i+3]
	}
	for ; i < len(a); i++ {
		s0 += a[i] * b[i]
	}
	return s0 + s1 + s2 + s3
}

func summarise(metrics map[string]float64, name string, ranks []int) {
	n := float64(len(ranks))
	sorted := slices.Sorted(slices.Values(ranks))
	sum := 0
	for _, r := range ranks {
		sum += r
	}
	middle := float64(sorted[len(sorted)/2])
	if len(sorted)%2 == 0 {
		middle = (middle + float64(sorted[len(sorted)/2-1])) / 2
	}
	metrics[name+"_mean_rank"] = float64(sum)/n + 1
	metrics[name+"_median_rank"] = math.Floor(middle) + 1
	for _, k := range []int{1, 5, 10} {
		below, _ := slices.BinarySearch(sorted, k)
		metrics[fmt.Sprintf("%s_R@%d", name, k)] = float64(below) / n
	}
}
