package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAugCfg(t *testing.T) {
	var a augCfg
	require.NoError(t, a.UnmarshalText([]byte("scale=(0.9, 1.0) color_jitter=[0.32,0.32, 0.32,0.08];color_jitter_prob=0.8 gray_scale_prob=0.2 ratio=None use_timm=False re_prob=0.0 re_count=1")))
	assert.Equal(t, [2]float64{0.9, 1}, a.Scale)
	assert.Equal(t, [2]float64{}, a.Ratio)
	assert.Equal(t, []float64{0.32, 0.32, 0.32, 0.08}, a.ColorJitter)
	assert.Equal(t, []float64{0.8, 0.2}, []float64{a.ColorJitterProb, a.GrayScaleProb})
	text, err := a.MarshalText()
	require.NoError(t, err)
	var again augCfg
	require.NoError(t, again.UnmarshalText(text))
	assert.Equal(t, a, again)
	require.NoError(t, a.UnmarshalText(nil))
	assert.Equal(t, augCfg{}, a)

	for text, want := range map[string]string{
		"use_timm=True":                    "use_timm=True is of timm's augmentation",
		"re_prob=0.4":                      "re_prob=0.4 is of timm's augmentation",
		"re_count=3":                       "re_count=3 is of timm's augmentation",
		"interpolation=bilinear":           `"interpolation": must be one of scale`,
		"scale":                            `"scale" is not KEY=VALUE`,
		"scale=big":                        "scale=big: must be numbers",
		"color_jitter=[0.4,0.4,0.4,0.1]":   "does nothing without color_jitter_prob",
		"color_jitter=(0.4,0.4 scale=(1,1": "color_jitter=[0.4,0.4 scale=[1,1: must be numbers",
	} {
		assert.ErrorContains(t, a.UnmarshalText([]byte(text)), want)
	}
}
