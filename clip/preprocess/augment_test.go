package preprocess

import (
	"math"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var strongAug = AugConfig{Scale: [2]float64{0.2, 1}, ColorJitter: []float64{0.4, 0.4, 0.4, 0.1}, ColorJitterProb: 0.8,
	GrayScaleProb: 0.2}

func TestTrainTransformDependsOnTheGeneratorAlone(t *testing.T) {
	img := decodeGolden(t, "rgba.png")
	tr, err := NewTrainTransform(DefaultConfig(32), strongAug)
	require.NoError(t, err)
	run := func(seed uint64) []float32 {
		rng, dst := rand.New(rand.NewPCG(seed, 1)), make([]float32, tr.Len())
		for range 3 {
			require.NoError(t, tr.Apply(dst, img, rng))
		}
		return dst
	}
	assert.Equal(t, run(5), run(5))
	assert.NotEqual(t, run(5), run(6))
}

func TestRandomCropDistribution(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	const n = 20000
	w, h := 400, 300
	scale, ratio := [2]float64{0.2, 0.6}, [2]float64{3.0 / 4, 4.0 / 3}
	var area, logRatio, x float64
	for range n {
		c := randomCrop(w, h, scale, ratio, rng)
		require.True(t, c.x >= 0 && c.y >= 0 && c.x+c.w <= w && c.y+c.h <= h && c.w > 0 && c.h > 0, "%+v", c)
		area += float64(c.w*c.h) / float64(w*h) / n
		logRatio += math.Log(float64(c.w)/float64(c.h)) / n
		if c.w < w {
			x += float64(c.x) / float64(w-c.w) / n
		}
	}
	// Means of uniform draws; the tolerance is several standard errors.
	assert.InDelta(t, 0.4, area, 0.005)
	assert.InDelta(t, 0, logRatio, 0.01)
	assert.InDelta(t, 0.5, x, 0.015)
}

func TestCentralCropIsTorchvisions(t *testing.T) {
	ratio := [2]float64{3.0 / 4, 4.0 / 3}
	assert.Equal(t, crop{0, 43, 10, 13}, centralCrop(10, 100, ratio))
	assert.Equal(t, crop{43, 0, 13, 10}, centralCrop(100, 10, ratio))
	assert.Equal(t, crop{0, 0, 100, 90}, centralCrop(100, 90, ratio))
	assert.Equal(t, crop{249, 0, 1, 1}, centralCrop(500, 1, ratio))
}

func TestJitterDraws(t *testing.T) {
	r, err := newJitterRange([]float64{0.4, 0, 2, 0.1})
	require.NoError(t, err)
	rng := rand.New(rand.NewPCG(1, 1))
	first := [4]int{}
	for range 4000 {
		j := r.draw(rng)
		first[j.order[0]]++
		assert.InDelta(t, 1, j.factor[0], 0.4001)
		assert.True(t, j.factor[2] >= 0 && j.factor[2] <= 3)
		assert.InDelta(t, 0, j.factor[3], 0.1001)
	}
	assert.Equal(t, [4]bool{true, false, true, true}, r.active)
	for _, n := range first {
		assert.InDelta(t, 1000, n, 150)
	}
}

func TestProbabilities(t *testing.T) {
	tr, err := NewTrainTransform(DefaultConfig(8), strongAug)
	require.NoError(t, err)
	rng := rand.New(rand.NewPCG(8, 8))
	jittered, grey := 0, 0
	for range 10000 {
		v := tr.draw(50, 50, rng)
		if v.jitter != nil {
			jittered++
		}
		if v.grey {
			grey++
		}
	}
	assert.InDelta(t, 8000, jittered, 200)
	assert.InDelta(t, 2000, grey, 200)
}

// Transforms are shared between workers: the results are those of one worker.
func TestConcurrentUse(t *testing.T) {
	names := []string{"rgb_129x200.png", "rgba.png", "palette.png", "grey16.png", "face_420.jpg", "rgba_tall.png"}
	tr, err := NewTransform(DefaultConfig(32))
	require.NoError(t, err)
	train, err := NewTrainTransform(DefaultConfig(32), strongAug)
	require.NoError(t, err)
	var images []*Image
	var want, wantTrain [][]float32
	for i, name := range names {
		img := decodeGolden(t, name)
		a, b := make([]float32, tr.Len()), make([]float32, tr.Len())
		require.NoError(t, tr.Apply(a, img))
		require.NoError(t, train.Apply(b, img, rand.New(rand.NewPCG(uint64(i), 0))))
		images, want, wantTrain = append(images, img), append(want, a), append(wantTrain, b)
	}
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			dst := make([]float32, tr.Len())
			for k := range 24 {
				i := (k + worker) % len(images)
				assert.NoError(t, tr.Apply(dst, images[i]))
				assert.Equal(t, want[i], dst)
				assert.NoError(t, train.Apply(dst, images[i], rand.New(rand.NewPCG(uint64(i), 0))))
				assert.Equal(t, wantTrain[i], dst)
			}
		})
	}
	wg.Wait()
}
