package preprocess

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/goclip/goclip/internal/campaign"
)

// FuzzDecode feeds arbitrary bytes: the outcome is a sound image or an error, never a panic, and the limits hold.
func FuzzDecode(of *testing.F) {
	f := campaign.Inputs(of, 64<<20)
	files, err := filepath.Glob(filepath.Join(goldenDir, "pictures", "*"))
	if err != nil || len(files) == 0 {
		f.Fatalf("no images in %s (%v)", goldenDir, err)
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
	for _, u := range untidyFiles(f) {
		if len(u.data) < 4000 {
			f.Add(u.data)
		}
	}
	f.Add([]byte("GIF89a"))
	f.Add(manyScans(64, 64, 30))
	f.Add(rawFile(6, readGolden(f, "pictures/cup_410.jpg"), readGolden(f, "pictures/cup_restarts.jpg")))
	f.Add(pngHeaderOnly(20000, 20000))
	tr, err := NewTransform(DefaultConfig(16))
	if err != nil {
		f.Fatal(err)
	}
	lim := Limits{MaxPixels: 1 << 18, MaxBytes: 1 << 20}
	f.Fuzz(func(t *testing.T, data []byte) {
		img, err := Decode(t.Context(), data, lim)
		if err != nil {
			if img != nil {
				t.Fatal("both an image and an error")
			}
			return
		}
		head, err := ReadHeader(data, lim)
		if err != nil || head.Width != img.Width || head.Height != img.Height || head.Memory < int64(len(img.Pix)) {
			t.Fatalf("the header says %+v (%v), the image has %dx%d and %d bytes", head, err, img.Width, img.Height, len(img.Pix))
		}
		if int64(img.Width)*int64(img.Height) > lim.MaxPixels {
			t.Fatalf("%dx%d pixels came past the limit", img.Width, img.Height)
		}
		if err := tr.Apply(make([]float32, tr.Len()), img); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzHEIC, FuzzAVIF, FuzzJXL and FuzzJPEG2000 feed the libraries of the system: an image within the limits or an
// error, and no crash of their code.
func FuzzHEIC(f *testing.F)     { needHEIF(f); fuzzSystem(f, "heif.zip", "HEIC") }
func FuzzAVIF(f *testing.F)     { needHEIF(f); fuzzSystem(f, "heif.zip", "AVIF") }
func FuzzJXL(f *testing.F)      { needJXL(f); fuzzSystem(f, "jxl.zip", "JPEG XL") }
func FuzzJPEG2000(f *testing.F) { needJPEG2000(f); fuzzSystem(f, "jp2.zip", "JPEG 2000") }

func fuzzSystem(of *testing.F, archive, format string) {
	f := campaign.Inputs(of, 64<<20)
	for _, g := range zipped(f, archive) {
		if KindOf(g.data, "").Format == format {
			f.Add(g.data)
		}
	}
	lim := Limits{MaxPixels: 1 << 16, MaxBytes: 1 << 20, MaxMemory: 256 << 20}
	f.Fuzz(func(t *testing.T, data []byte) {
		if KindOf(data, "").Format != format {
			return
		}
		img, err := Decode(t.Context(), data, lim)
		if (img == nil) == (err == nil) {
			t.Fatalf("an image %v and the error %v", img != nil, err)
		}
		if img != nil && int64(img.Width)*int64(img.Height) > lim.MaxPixels {
			t.Fatalf("%dx%d pixels came past the limit", img.Width, img.Height)
		}
	})
}

// FuzzBytes takes the way of Transform.Bytes, which decodes the columns that it needs alone: it refuses what Decode
// refuses, gives what Apply gives of the whole image, and turns every image that it reads.
func FuzzBytes(of *testing.F) {
	f := campaign.Inputs(of, 64<<20)
	for _, name := range []string{"cup_odd.jpg", "cup_422.jpg", "cup_440.jpg", "cup_411.jpg", "cup_arithmetic.jpg",
		"cup_grey_progressive.jpg", "cup_ycck.jpg", "cup_restarts.jpg", "orientation6.jpg", "lying.png", "lying.webp",
		"lying.tif"} {
		f.Add(readGolden(f, "pictures/"+name))
	}
	lim := Limits{MaxPixels: 1 << 16, MaxBytes: 1 << 16}
	tr, err := NewTransform(DefaultConfig(16))
	if err != nil {
		f.Fatal(err)
	}
	tr = tr.WithLimits(lim)
	lim.Orient, lim.FastJPEG = true, true
	upright := tr.WithLimits(lim)
	f.Fuzz(func(t *testing.T, data []byte) {
		want, got := make([]float32, tr.Len()), make([]float32, tr.Len())
		err := tr.Bytes(t.Context(), got, data)
		img, wantErr := Decode(t.Context(), data, tr.lim)
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("Bytes says %v, Decode says %v", err, wantErr)
		}
		if err != nil {
			return
		}
		if err := tr.Apply(want, img); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(want, got) {
			t.Fatal("the columns differ from those of the whole image")
		}
		if err := upright.Bytes(t.Context(), got, data); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzConfig: a configuration that is read makes a transform, and reads back as itself.
func FuzzConfig(of *testing.F) {
	f := campaign.Inputs(of, 16<<20)
	f.Add([]byte(`{"size": {"shortest_edge": 224}, "crop_size": 224, "resample": 3, "image_mean": [0.5, 0.5, 0.5]}`))
	f.Add([]byte(`{"image_processor_type": "SiglipImageProcessor", "size": {"height": 20, "width": 30}}`))
	f.Add([]byte(`{"size": [20, 30], "mean": 0.1, "std": [1, 2, 3], "resize_mode": "longest", "fill_color": 7}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var read []Config
		if c, err := ParseHuggingFace(data); err == nil {
			read = append(read, c)
		}
		var c Config
		if json.Unmarshal(data, &c) == nil {
			read = append(read, c)
		}
		for _, c := range read {
			if err := c.Validate(); err != nil {
				t.Fatal(err)
			}
			text, err := json.Marshal(c)
			if err != nil {
				t.Fatal(err)
			}
			var back Config
			if err := json.Unmarshal(text, &back); err != nil || back != c {
				t.Fatalf("%+v came back as %+v (%v)", c, back, err)
			}
		}
	})
}
