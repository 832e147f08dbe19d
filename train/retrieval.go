package train

import (
	"fmt"
	"math"
	"slices"

	"github.com/goclip/goclip/torch"
)

// Retrieval ranks, for each picture, the texts by cosine, and for each text the pictures. images
// are the L2-normalised rows (N, dim) of the pictures, texts those (M, dim) of the captions; of[j]
// is the picture of caption j, and nil says that row i of the one belongs to row i of the other.
//
// The names are open_clip's (open_clip_train/train.py, get_clip_metrics): a rank counts from 0 in
// the median and from 1 in the mean, R@k is the share of ranks below k, and of equal similarities
// the earlier one comes first. Where a picture has several captions, its rank is that of its best
// one: R@k counts a hit if any of them is among the first k, as CLIP_benchmark does
// (clip_benchmark/metrics/zeroshot_retrieval.py). A picture without a caption is left out of
// image_to_text and stays among those that a text is to find its own in.
func Retrieval(images, texts []float32, of []int, dim int) (Metrics, error) {
	n, m := len(images)/dim, len(texts)/dim
	if n == 0 || m == 0 {
		return nil, fmt.Errorf("train: retrieval: %d pictures and %d texts make no pair", n, m)
	}
	if of == nil {
		of = make([]int, m)
		for j := range of {
			of[j] = j
		}
	}
	captions := make([][]int, n)
	owners := make([][]int, m)
	for j, i := range of {
		if i < 0 || i >= n {
			return nil, fmt.Errorf("train: caption %d belongs to picture %d, and there are %d", j, i, n)
		}
		captions[i], owners[j] = append(captions[i], j), []int{i}
	}
	metrics := Metrics{}
	for _, side := range []struct {
		name             string
		queries, against []float32
		matches          [][]int
	}{{"image_to_text", images, texts, captions}, {"text_to_image", texts, images, owners}} {
		ranks, err := ranks(side.queries, side.against, side.matches, dim, similarities)
		if err != nil {
			return nil, fmt.Errorf("train: retrieval: %w", err)
		}
		summarise(metrics, side.name, ranks)
	}
	return metrics, nil
}

// similarities is how many of them are computed at once: 64 MiB of float32.
const similarities = 16 << 20

// ranks is, for each row of queries that has matches among the rows of against, how many rows come
// before the first of them, sorted by their product with it. At most limit products are computed at
// once, but one row's.
func ranks(queries, against []float32, matches [][]int, dim, limit int) (out []int, err error) {
	n, m := len(queries)/dim, len(against)/dim
	chunk := max(1, limit/m)
	err = torch.NoGrad(func(s *torch.Scope) {
		columns := torch.FromSlice(s, against, m, dim).T()
		for from := 0; from < n; from += chunk {
			rows := min(chunk, n-from)
			s.NoGrad(func(s *torch.Scope) {
				products := torch.FromSlice(s, queries[from*dim:(from+rows)*dim], rows, dim).MatMul(columns) // (rows, M)
				out = append(out, chunkRanks(s, products, matches[from:from+rows])...)
			})
		}
	})
	return out, err
}

func chunkRanks(s *torch.Scope, products *torch.Tensor, matches [][]int) (ranks []int) {
	rows, m := products.Size(0), products.Size(1)
	most := 1
	for _, list := range matches {
		most = max(most, len(list))
	}
	table := make([]int64, 0, rows*most) // each row's matches, the first of them again where there are fewer
	for _, list := range matches {
		for k := range most {
			switch {
			case k < len(list):
				table = append(table, int64(list[k]))
			case len(list) > 0:
				table = append(table, int64(list[0]))
			default:
				table = append(table, 0)
			}
		}
	}
	own := products.Gather(1, torch.FromSlice(s, table, rows, most)).MaxDim(1).Unsqueeze(1) // (rows, 1)
	count := func(t *torch.Tensor) []int64 { return torch.ToSlice[int64](t.To(torch.CPU, torch.Int64).SumDim(1)) }
	below, equal := count(products.Le(own)), count(products.Eq(own))
	for i, list := range matches {
		if len(list) == 0 {
			continue
		}
		rank := m - int(below[i]) // those that are nearer
		if equal[i] > 1 {         // of those that are as near, the earlier ones: up to the first match among them
			row := torch.ToSlice[float32](products.Select(0, i).Contiguous())
			best := row[list[0]]
			for _, j := range list {
				best = max(best, row[j])
			}
			for j, p := range row {
				if p == best && slices.Contains(list, j) {
					break
				}
				if p == best {
					rank++
				}
			}
		}
		ranks = append(ranks, rank)
	}
	return ranks
}

func summarise(metrics Metrics, name string, ranks []int) {
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
