package evaluate

import (
	"fmt"
	"math"
	"slices"

	"github.com/goclip/goclip/torch"
)

// Ranks are, for each query, how many candidates come before its first match, sorted by cosine. Of
// equal similarities the earlier candidate comes first. An image without a caption has no rank, and
// stays among those that a text is to find its own in.
type Ranks struct {
	ImageToText []int // of the images: a match is any of its captions
	TextToImage []int // of the texts
}

// Features are the L2-normalised rows (N, Dim) of images and (M, Dim) of texts, Of[j] being the
// image of text j; nil says that text i is that of image i.
type Features struct {
	Dim           int
	Images, Texts []float32
	Of            []int
}

// Ranks ranks the texts for each image and the images for each text.
func (f *Features) Ranks() (Ranks, error) {
	matches, err := f.own()
	if err != nil {
		return Ranks{}, err
	}
	return f.ranks(matches)
}

// matches are the texts that fit each image and the images that fit each text, in order.
type matches struct{ texts, images [][]int }

// own are those that belong to each other.
func (f *Features) own() (m matches, err error) {
	images, texts := len(f.Images)/f.Dim, len(f.Texts)/f.Dim
	if images == 0 || texts == 0 {
		return m, fmt.Errorf("evaluate: %d images and %d texts make no pair", images, texts)
	}
	if f.Of != nil && len(f.Of) != texts {
		return m, fmt.Errorf("evaluate: Of has %d numbers, one for each text, and there are %d", len(f.Of), texts)
	}
	m = matches{make([][]int, images), make([][]int, texts)}
	for j := range texts {
		i := j
		if f.Of != nil {
			i = f.Of[j]
		}
		if i < 0 || i >= images {
			return m, fmt.Errorf("evaluate: text %d belongs to image %d, and there are %d images", j, i, images)
		}
		m.texts[i], m.images[j] = append(m.texts[i], j), []int{i}
	}
	return m, nil
}

func (f *Features) ranks(m matches) (r Ranks, err error) {
	if r.ImageToText, err = ranks(f.Images, f.Texts, m.texts, f.Dim, similarities); err == nil {
		r.TextToImage, err = ranks(f.Texts, f.Images, m.images, f.Dim, similarities)
	}
	if err != nil {
		return r, fmt.Errorf("evaluate: %w", err)
	}
	return r, nil
}

// similarities is how many of them are computed at once: 64 MiB of float32.
const similarities = 16 << 20

// ranks is, for each row of queries that has matches, ascending, among the rows of against, how many rows come
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
				if p != best {
					continue
				}
				if _, match := slices.BinarySearch(list, j); match {
					break
				}
				rank++
			}
		}
		ranks = append(ranks, rank)
	}
	return ranks
}

// Metrics returns the figures of the ranks under open_clip's names (open_clip_train/train.py,
// get_clip_metrics): a rank counts from 0 in the median and from 1 in the mean, and R@k is the
// fraction of ranks below k.
func (r Ranks) Metrics() Metrics {
	metrics := Metrics{}
	for name, ranks := range map[string][]int{"image_to_text": r.ImageToText, "text_to_image": r.TextToImage} {
		sorted := slices.Sorted(slices.Values(ranks))
		sum := 0
		for _, rank := range ranks {
			sum += rank
		}
		n := len(sorted)
		median := float64(sorted[n/2])
		if n%2 == 0 {
			median = (median + float64(sorted[n/2-1])) / 2
		}
		metrics[name+"_mean_rank"] = float64(sum)/float64(n) + 1
		metrics[name+"_median_rank"] = math.Floor(median) + 1
		for _, k := range Recalls {
			metrics[fmt.Sprintf("%s_R@%d", name, k)] = float64(below(ranks, k)) / float64(n)
		}
	}
	return metrics
}

// Recalls are the k of R@k.
var Recalls = []int{1, 5, 10}

// below counts the ranks below k.
func below(ranks []int, k int) (n int) {
	for _, rank := range ranks {
		if rank < k {
			n++
		}
	}
	return n
}
