package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/pretrained"
	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/index"
	"github.com/goclip/goclip/serve"
)

type serveCmd struct {
	modelFlags
	Addr  string `help:"Address to listen on, HOST:PORT. Without a host it is loopback; another machine is served only if one says 0.0.0.0:8080 or the like." default:"127.0.0.1:8080" complete:"none"`
	Index string `help:"Index whose pictures /v1/search and the page find, as infer index writes it; of the same model." placeholder:"DIR"`
	engineFlag
	serveLimits

	Token      string   `help:"Bearer token that requests must have, but for the page and the probes of health; GOCLIP_TOKEN in the environment is one too, which a list of processes does not show." complete:"none"`
	Host       []string `help:"Further names in the Host header that are answered on loopback; localhost and addresses always are." sep:"none" placeholder:"NAME"`
	Alias      []string `help:"Further names that requests may call the model by; '*' is every name." sep:"none" placeholder:"NAME"`
	AllowFetch bool     `help:"Pictures may be given by http and https addresses, on the public internet alone."`
	CUDAGraphs bool     `name:"cuda-graphs" help:"Capture the towers once for each size of batch and replay them, on a GPU; texts want --precision bf16 or fp16. Takes a build with CUDA graphs (make build-cuda)."`
	NoOrient   bool     `help:"Take pictures as they lie in the file, as open_clip does, instead of upright by their EXIF orientation."`
	Quiet      bool     `help:"No line for what goes wrong on the server's side."`
}

// serveLimits bound what clients may cost.
type serveLimits struct {
	MaxBody      int64         `help:"Bytes of a request." default:"33554432" group:"Limits"`
	MaxBodies    int64         `help:"Bytes of all requests that are being answered." default:"268435456" group:"Limits"`
	MaxPixels    int64         `help:"Pixels of a picture, read from its header before it is decoded." default:"50000000" group:"Limits"`
	MaxInputs    int           `help:"Texts and pictures of a request." default:"256" group:"Limits"`
	Queue        int           `help:"Texts and pictures that are accepted and not yet computed; beyond it requests get 429 at once." default:"512" group:"Limits"`
	BatchWindow  time.Duration `help:"Time that the first of a batch waits for others at most." default:"5ms" group:"Limits"`
	Decoders     int           `help:"Pictures decoded at a time; the default is the CPUs there are." group:"Limits"`
	Timeout      time.Duration `help:"Time that a request waits for the model; beyond it, 503." default:"30s" group:"Limits"`
	ReadTimeout  time.Duration `help:"Time for a request to arrive." default:"20s" group:"Limits"`
	WriteTimeout time.Duration `help:"Time for a client to take its answer." default:"90s" group:"Limits"`
	IdleTimeout  time.Duration `help:"Time between two requests of a connection." default:"2m" group:"Limits"`
	Grace        time.Duration `help:"Time for what was accepted, after SIGTERM or Ctrl-C." default:"30s" group:"Limits"`
}

func (l *serveLimits) limits(batch int) serve.Limits {
	return serve.Limits{Body: l.MaxBody, Bodies: l.MaxBodies, Pixels: l.MaxPixels, Inputs: l.MaxInputs, Queue: l.Queue,
		BatchSize: batch, Window: l.BatchWindow, Decoders: l.Decoders,
		Wait: l.Timeout, Read: l.ReadTimeout, Write: l.WriteTimeout, Idle: l.IdleTimeout, Grace: l.Grace}
}

// check says which flag cannot be.
func (l *serveLimits) check() error {
	for _, f := range []struct {
		flag  string
		value int64
	}{{"max-body", l.MaxBody}, {"max-bodies", l.MaxBodies}, {"max-pixels", l.MaxPixels}, {"max-inputs", int64(l.MaxInputs)},
		{"queue", int64(l.Queue)}, {"batch-window", int64(l.BatchWindow)}, {"timeout", int64(l.Timeout)}, {"read-timeout", int64(l.ReadTimeout)},
		{"write-timeout", int64(l.WriteTimeout)}, {"idle-timeout", int64(l.IdleTimeout)}, {"grace", int64(l.Grace)}} {
		if f.value <= 0 {
			return usageError(fmt.Sprintf("--%s: a positive value is wanted", f.flag))
		}
	}
	switch {
	case l.Decoders < 0 || l.Decoders > mostThreads:
		return usageError(fmt.Sprintf("--decoders %d: 1 to %d are wanted, or 0 for the default", l.Decoders, mostThreads))
	case l.MaxInputs > l.Queue:
		return usageError(fmt.Sprintf("--max-inputs %d is more than --queue %d: such a request would never be accepted", l.MaxInputs, l.Queue))
	case l.MaxBody > l.MaxBodies:
		return usageError(fmt.Sprintf("--max-body %d is more than --max-bodies %d: such a request would never be accepted", l.MaxBody, l.MaxBodies))
	}
	return nil
}

func (*serveCmd) Help() string {
	return `  infer serve                                         http://127.0.0.1:8080: the page and the API
  infer serve --model logs/photos/checkpoints/latest --index photos/.goclip
  GOCLIP_TOKEN=secret infer serve --addr 0.0.0.0:8080 --host photos.example`
}

func (c *serveCmd) Run(ctx context.Context, io *streams) error {
	if err := c.serveLimits.check(); err != nil {
		return err
	}
	if err := c.engineFlag.check(); err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(c.Addr)
	if err != nil {
		return usageError(fmt.Sprintf("--addr %s: HOST:PORT is wanted, such as 127.0.0.1:8080", c.Addr))
	}
	if host == "" {
		host = "127.0.0.1"
	}
	m, shelf, err := c.openIndexed(ctx, io.err)
	if err != nil {
		return err
	}
	defer shelf.close()
	if c.CUDAGraphs {
		if err := m.UseGraphs(); err != nil {
			return usageError("--cuda-graphs: " + strings.TrimPrefix(err.Error(), "clip: "))
		}
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if err != nil {
		return fmt.Errorf("--addr %s: %w", c.Addr, err)
	}
	defer listener.Close() // Serve has closed it, unless New fails
	o := serve.Options{Aliases: c.Alias, Version: version(), Limits: c.limits(c.BatchSize), Token: c.Token, AllowFetch: c.AllowFetch, NoOrient: c.NoOrient,
		Thumbnail: thumbnail, Log: c.logger(io.err)}
	if shelf.Index != nil {
		o.Index = shelf
	}
	if o.Token == "" {
		o.Token = os.Getenv("GOCLIP_TOKEN")
	}
	if n, err := pretrained.ParseName(c.Model, tower.ConfigNames()); err == nil && n.Config != "" && cmp.Or(n.Tag, c.Pretrained) != "" {
		o.Aliases = append(o.Aliases, n.Config+"__"+cmp.Or(n.Tag, c.Pretrained)) // Immich's spelling
	}
	loopback := listener.Addr().(*net.TCPAddr).IP.IsLoopback()
	if loopback {
		o.Hosts = append([]string{"localhost"}, c.Host...)
	}
	s, err := serve.New(ctx, m, o)
	if err != nil {
		return err
	}
	fmt.Fprintf(io.err, "infer: %s on %s, http://%s\n", m.Name, m.Device(), listener.Addr())
	if !loopback && o.Token == "" {
		fmt.Fprintln(io.err, "infer: other machines can ask this server, and it has no --token")
	}
	err = s.Serve(ctx, listener)
	fmt.Fprintf(io.err, "infer: %d requests were answered\n", s.Answered())
	return err
}

// openIndexed opens the model and, with --index, the index, which must be the model's.
func (c *serveCmd) openIndexed(ctx context.Context, errs io.Writer) (m *clip.Model, s shelf, err error) {
	if c.Index == "" {
		m, err = c.open(ctx, errs)
		return m, s, err
	}
	if s.Index, err = openIndex(c.Index, c.Engine); err != nil {
		return nil, s, err
	}
	info, err := s.Info(ctx)
	if err == nil {
		var id index.Model
		if m, id, err = c.identify(ctx, errs, info.Model.Files); err == nil {
			err = info.Model.Same(id)
		}
	}
	if err != nil {
		s.close()
		return nil, shelf{}, fmt.Errorf("--index %s: %w", c.Index, err)
	}
	return m, s, nil
}

// shelf is an index as the server asks it.
type shelf struct{ *index.Index }

func (s shelf) close() {
	if s.Index != nil {
		s.Index.Close()
	}
}

func (s shelf) Search(ctx context.Context, row []float32, k int) ([]serve.Hit, error) {
	found, err := s.Index.Search(ctx, row, k, index.Filter{})
	if err != nil || len(found) == 0 {
		return nil, err
	}
	hits := make([]serve.Hit, len(found[0]))
	for i, h := range found[0] {
		hits[i] = serve.Hit{Path: h.Path, Score: float32(h.Score)}
	}
	return hits, nil
}

// Len is 0 where the index cannot say.
func (s shelf) Len() int {
	info, err := s.Info(context.Background())
	if err != nil {
		return 0
	}
	return info.Pictures
}

func (c *serveCmd) logger(w io.Writer) *slog.Logger {
	if c.Quiet {
		return nil
	}
	return slog.New(slog.NewTextHandler(w, nil))
}
