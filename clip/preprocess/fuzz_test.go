package preprocess

import (
	"os"
	"path/filepath"
	"testing"
)

// FuzzDecode feeds arbitrary bytes: the outcome is a sound picture or an error, never a panic, and the limits hold.
func FuzzDecode(f *testing.F) {
	files, err := filepath.Glob(filepath.Join(goldenDir, "pictures", "*"))
	if err != nil || len(files) == 0 {
		f.Fatalf("no pictures in %s (%v)", goldenDir, err)
	}
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		if len(data) < 20000 {
			f.Add(data)
		}
	}
	f.Add([]byte("GIF89a"))
	f.Add(pngHeaderOnly(20000, 20000))
	tr, err := NewTransform(DefaultConfig(16))
	if err != nil {
		f.Fatal(err)
	}
	lim := Limits{MaxPixels: 1 << 18, MaxBytes: 1 << 20}
	f.Fuzz(func(t *testing.T, data []byte) {
		img, err := Decode(data, lim)
		if err != nil {
			if img != nil {
				t.Fatal("both a picture and an error")
			}
			return
		}
		if int64(img.Width)*int64(img.Height) > lim.MaxPixels {
			t.Fatalf("%dx%d pixels came past the limit", img.Width, img.Height)
		}
		if err := tr.Apply(make([]float32, tr.Len()), img); err != nil {
			t.Fatal(err)
		}
	})
}
