package evaluate

import "fmt"

// Result is a result as CLIP_benchmark writes it (clip_benchmark/cli.py), which its command "build"
// and its notebooks read.
type Result struct {
	Dataset    string  `json:"dataset"`
	Model      string  `json:"model"`
	Pretrained string  `json:"pretrained"`
	Task       string  `json:"task"` // one of the constants below
	Metrics    Metrics `json:"metrics"`
	Language   string  `json:"language"`
}

// CLIP_benchmark's names of tasks.
const (
	TaskZeroShot  = "zeroshot_classification"
	TaskRetrieval = "zeroshot_retrieval"
	TaskProbe     = "linear_probe"
)

// Benchmark are CLIP_benchmark's metrics, by the pairs of the data alone: image_retrieval_recall@k
// is the fraction of texts of which one of the k nearest images is its own, text_retrieval_recall@k
// that of images of which one of the k nearest texts is.
func (r *Retrieval) Benchmark() Metrics {
	metrics := Metrics{}
	for name, ranks := range map[string][]int{"image": r.Own.TextToImage, "text": r.Own.ImageToText} {
		for _, k := range Recalls { // a mean in float32, as CLIP_benchmark's
			metrics[fmt.Sprintf("%s_retrieval_recall@%d", name, k)] = float64(float32(below(ranks, k)) / float32(len(ranks)))
		}
	}
	return metrics
}

// Benchmark are CLIP_benchmark's metrics. With fewer than five classes there is no acc5, where
// CLIP_benchmark has NaN.
func (z *ZeroShot) Benchmark() Metrics {
	metrics := Metrics{"acc1": z.Top1(), "mean_per_class_recall": z.MeanPerClass()}
	if z.Classes >= 5 {
		metrics["acc5"] = z.Top5()
	}
	return metrics
}

// Benchmark are CLIP_benchmark's metrics of a probe with these options. With fewer than six classes
// there is no lp_acc5, where CLIP_benchmark has NaN.
func (r *ProbeResult) Benchmark(o ProbeOptions) Metrics {
	shots := o.Shots
	if shots == 0 {
		shots = -1
	}
	metrics := Metrics{"lp_acc1": r.Top1, "lp_mean_per_class_recall": r.MeanPerClass, "weight_decay": r.WeightDecay,
		"epochs": float64(o.filled().Epochs), "seed": float64(o.Seed), "fewshot_k": float64(shots)}
	if r.Classes >= 6 {
		metrics["lp_acc5"] = r.Top5
	}
	return metrics
}
