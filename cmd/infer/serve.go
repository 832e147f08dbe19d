package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/goclip/goclip/serve"
)

type serveCmd struct {
	Model      []string      `help:"Model to serve; repeat it for more, each loaded at its first use (default: the indices' models, else as for infer score)." complete:"models" sep:"none" placeholder:"MODEL"`
	Pretrained string        `help:"Weights of a built-in config, if only one model is served." complete:"tags"`
	Preload    bool          `help:"Load all models at the start."`
	TTL        time.Duration `name:"ttl" help:"Unload a model not used for this long, such as 10m (default: never)."`
	MaxWeights int64         `help:"Largest size of all weights in memory; the least recently used model is unloaded (default: no limit)."`
	computeFlags

	Addr       []string `help:"Address to listen on, HOST:PORT or unix:PATH; repeatable. Without a host it is loopback; use 0.0.0.0:8080 to serve other machines. Sockets from systemd replace it." default:"127.0.0.1:8080" complete:"none" sep:"none" placeholder:"ADDR"`
	Index      []string `help:"Index to search, written by infer index with a served model; repeatable. Its name is its directory's." placeholder:"DIR" sep:"none"`
	Watch      bool     `help:"Index changes in the indices' directories."`
	AllowEdit  bool     `help:"Let clients with the token add and remove images of the indices' directories: PUT and DELETE of /v1/images/PATH."`
	AllowLearn bool     `help:"Let clients store the words that they teach the indices: POST /v1/learn with a name."`
	engineFlag
	serveLimits

	Token          string   `help:"Bearer token that requests need, except for the page and health checks. GOCLIP_TOKEN in the environment hides it from process lists." complete:"none"`
	Host           []string `help:"Additional names accepted in the Host header on loopback, besides localhost and addresses." sep:"none" placeholder:"NAME"`
	Alias          []string `help:"Additional name of the first model, or NAME=MODEL for another; '*' accepts every name." sep:"none" placeholder:"NAME"`
	BasePath       string   `help:"Path that a proxy leaves in front of the server's own, such as /clip." placeholder:"PATH"`
	TrustedProxy   []string `help:"Address or network (10.0.0.0/8) of a proxy whose X-Forwarded-Host and X-Forwarded-For are trusted, and which may send any Host." sep:"none" placeholder:"ADDRESS"`
	CORSOrigin     []string `name:"cors-origin" help:"Site whose pages may send requests from a browser, such as https://photos.example; '*' allows every site." sep:"none" placeholder:"ORIGIN"`
	ImmichUpstream string   `help:"Address of Immich's own machine learning service, such as http://immich-ml:3003, for faces and OCR." placeholder:"URL"`
	AllowFetch     bool     `help:"Accept images by http and https address, on the public internet only."`
	CUDAGraphs     bool     `name:"cuda-graphs" help:"Use CUDA graphs, one for each batch size; texts need --precision bf16 or fp16. Needs make build-cuda."`
	NoOrient       bool     `help:"Ignore the EXIF orientation, as open_clip does."`
	OTLPEndpoint   string   `name:"otlp-endpoint" help:"Send a span of each request and of its stages to this OpenTelemetry collector (OTLP over HTTP), such as http://localhost:4318." placeholder:"URL"`
	NoSystem       bool     `name:"no-system-decoders" help:"Refuse HEIC, AVIF, JPEG XL and JPEG 2000, which libraries of the system decode: C++ that strangers' files would reach."`
	LogRequests    bool     `help:"Log each request with its id, status and duration."`
	Quiet          bool     `help:"Do not log the server's own errors."`
}

// serveLimits bound what clients may cost.
type serveLimits struct {
	MaxBody      int64         `help:"Largest size of a request." default:"33554432" group:"Limits"`
	MaxBodies    int64         `help:"Largest size of all requests in progress (default: 256 MiB, or less if the machine or container has little memory)." group:"Limits"`
	MaxDecoding  int64         `help:"Memory for decoding images at one time; further images wait (default: 1 GiB, or less if the machine or container has little memory)." group:"Limits"`
	MaxPixels    int64         `help:"Largest number of pixels of an image, from its header." default:"50000000" group:"Limits"`
	MaxInputs    int           `help:"Largest number of texts and images in a request." default:"2048" group:"Limits"`
	Queue        int           `help:"Largest number of waiting texts and images; further requests get status 429." default:"512" group:"Limits"`
	BatchWindow  time.Duration `help:"Longest time that the first input of a batch waits for others." default:"5ms" group:"Limits"`
	Decoders     int           `help:"Images decoded at one time (default: the number of CPUs)." group:"Limits"`
	Timeout      time.Duration `help:"Time that a request waits for the model before status 429." default:"30s" group:"Limits"`
	ReadTimeout  time.Duration `help:"Time for a request to arrive." default:"20s" group:"Limits"`
	WriteTimeout time.Duration `help:"Time for a client to read its response." default:"90s" group:"Limits"`
	IdleTimeout  time.Duration `help:"Time between two requests of a connection." default:"2m" group:"Limits"`
	Grace        time.Duration `help:"Time to finish accepted requests after SIGTERM or Ctrl-C." default:"30s" group:"Limits"`
}

func (l *serveLimits) limits(batch int) serve.Limits {
	return serve.Limits{Body: l.MaxBody, Bodies: l.MaxBodies, Decoding: l.MaxDecoding, Pixels: l.MaxPixels, Inputs: l.MaxInputs, Queue: l.Queue,
		BatchSize: batch, Window: l.BatchWindow, Decoders: l.Decoders,
		Wait: l.Timeout, Read: l.ReadTimeout, Write: l.WriteTimeout, Idle: l.IdleTimeout, Grace: l.Grace}
}

// check says which flag cannot be.
func (l *serveLimits) check() error {
	for _, f := range []struct {
		flag  string
		value int64
	}{{"max-body", l.MaxBody}, {"max-pixels", l.MaxPixels}, {"max-inputs", int64(l.MaxInputs)},
		{"queue", int64(l.Queue)}, {"batch-window", int64(l.BatchWindow)}, {"timeout", int64(l.Timeout)}, {"read-timeout", int64(l.ReadTimeout)},
		{"write-timeout", int64(l.WriteTimeout)}, {"idle-timeout", int64(l.IdleTimeout)}, {"grace", int64(l.Grace)}} {
		if f.value <= 0 {
			return usageError(fmt.Sprintf("--%s must be positive", f.flag))
		}
	}
	switch {
	case l.MaxBodies < 0 || l.MaxDecoding < 0:
		return usageError("--max-bodies and --max-decoding must be positive, or 0 for the default")
	case l.Decoders < 0 || l.Decoders > maxThreads:
		return usageError(fmt.Sprintf("--decoders %d must be between 1 and %d, or 0 for the default", l.Decoders, maxThreads))
	case l.MaxBodies > 0 && l.MaxBody > l.MaxBodies:
		return usageError(fmt.Sprintf("--max-body %d is more than --max-bodies %d: such a request would never be accepted", l.MaxBody, l.MaxBodies))
	}
	return nil
}

func (*serveCmd) Help() string {
	return `Examples:

  infer serve                                         http://127.0.0.1:8080: the page and the API
  infer serve --model logs/photos/checkpoints/latest --index photos/.goclip
  infer serve --model ViT-B-32:openai --model ViT-L-14:openai --ttl 10m
  GOCLIP_TOKEN=secret infer serve --addr 0.0.0.0:8080 --host photos.example`
}

func (c *serveCmd) Run(ctx context.Context, io *streams) error {
	if err := c.check(); err != nil {
		return err
	}
	addresses, err := parseAddresses(c.Addr)
	if err != nil {
		return err
	}
	proxies, err := parseProxies(c.TrustedProxy)
	if err != nil {
		return err
	}
	upstream, err := parseURL("--immich-upstream", c.ImmichUpstream, "an address such as http://immich-ml:3003")
	if err != nil {
		return err
	}
	spans, err := parseURL("--otlp-endpoint", c.OTLPEndpoint, "the address of a collector, such as http://localhost:4318")
	if err != nil {
		return err
	}
	c.fit(memoryOf(os.DirFS("/")))
	if err := c.choose(ctx, io); err != nil {
		return err
	}
	list, err := c.models(io.err)
	if err != nil {
		return err
	}
	shelves, err := c.openIndexed(ctx, list)
	if err != nil {
		return err
	}
	defer shelves.close()
	listeners, err := listen(ctx, addresses)
	if err != nil {
		return err
	}
	defer closeAll(listeners) // Serve has closed them, unless New fails
	o := serve.Options{Version: version(), TTL: c.TTL, Memory: c.MaxWeights, Limits: c.limits(c.BatchSize), Token: c.Token,
		BasePath: c.BasePath, Proxies: proxies, Origins: c.CORSOrigin, ImmichUpstream: upstream, AllowFetch: c.AllowFetch, NoOrient: c.NoOrient, NoSystem: c.NoSystem, Indices: c.indexed(shelves), Thumbnail: thumbnail, Original: original, Log: c.logger(io.err)}
	if o.Notice, err = c.notice(ctx, list, shelves); err != nil {
		return err
	}
	if spans != nil {
		tracing, end, err := newTracing(spans.JoinPath("v1", "traces").String(), cmp.Or(o.Log, slog.New(slog.DiscardHandler)))
		if err != nil {
			return err
		}
		defer end()
		o.Tracing = tracing
	}
	if o.Token == "" {
		o.Token = os.Getenv("GOCLIP_TOKEN")
	}
	if c.AllowEdit && o.Token == "" {
		return usageError("--allow-edit needs --token: who may change the images")
	}
	loopback := private(listeners)
	if loopback {
		o.Hosts = append([]string{"localhost"}, c.Host...)
	}
	served := make([]serve.Model, len(list))
	for i, m := range list {
		served[i] = m.Model
	}
	s, err := serve.New(ctx, o, served...)
	if err != nil {
		return err
	}
	c.local(ctx, s, shelves, list[0].flags)
	fmt.Fprintf(io.err, "infer: %s, %s\n", c.said(list), addressesText(listeners, c.BasePath))
	if o.Notice != "" {
		fmt.Fprintln(io.err, "infer: "+o.Notice)
	}
	if !loopback && o.Token == "" {
		fmt.Fprintln(io.err, "infer: other machines can ask this server, and it has no --token")
	}
	if c.Watch {
		for _, shelf := range shelves {
			if err := shelf.watch(ctx, s, io.err); err != nil {
				return fmt.Errorf("--watch: %w", err)
			}
		}
	}
	defer c.reloads(s, io.err)()
	defer tellSystemd(ctx)()
	err = s.Serve(ctx, listeners...)
	fmt.Fprintf(io.err, "infer: %d requests were answered\n", s.Answered())
	return err
}

func (c *serveCmd) check() error {
	if err := c.serveLimits.check(); err != nil {
		return err
	}
	if err := c.engineFlag.check(); err != nil {
		return err
	}
	switch {
	case c.Pretrained != "" && len(c.Model) > 1:
		return usageError("--pretrained names the weights of one model, and --model names several; write --model CONFIG:TAG")
	case len(c.Index) == 0 && (c.Watch || c.AllowEdit || c.AllowLearn):
		return usageError("--watch, --allow-edit and --allow-learn need --index")
	case c.TTL < 0:
		return usageError("--ttl must be positive")
	case c.BasePath != "" && c.BasePath[0] != '/':
		return usageError(fmt.Sprintf("--base-path %s must begin with a slash, such as /clip", c.BasePath))
	case c.MaxWeights < 0:
		return usageError("--max-weights must be positive")
	}
	return nil
}

// reloads opens the models again at each SIGHUP, until it is ended.
func (c *serveCmd) reloads(s *serve.Server, errs io.Writer) (end func()) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	go func() {
		for range hup {
			reloading()
			if err := s.Reload(); err != nil {
				fmt.Fprintf(errs, "infer: SIGHUP: the model stays as it was: %v\n", err)
			} else {
				fmt.Fprintln(errs, "infer: SIGHUP: the models were reloaded")
			}
			ready()
		}
	}()
	return func() { signal.Stop(hup); close(hup) }
}

func (c *serveCmd) logger(w io.Writer) *slog.Logger {
	if c.Quiet {
		return nil
	}
	level := slog.LevelWarn
	switch {
	case c.LogRequests:
		level = slog.LevelDebug
	case len(c.Model) > 1 || c.TTL > 0: // models come and go
		level = slog.LevelInfo
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}

// memoryOf is what a process may take, in bytes: the limit of its cgroup, or all of the machine. 0
// is not known.
func memoryOf(machine fs.FS) int64 {
	total, limit := kilobytes(field(machine, "proc/meminfo", "MemTotal")), memoryLimit(machine)
	if limit == 0 || total > 0 && total < limit {
		return total
	}
	return limit
}

// fit divides the memory, in bytes, where no flag says otherwise: a quarter at most is for decoding,
// and a sixteenth for requests, whose contents take twice that again. Go's collector keeps its heap,
// which has both, within half: the rest is for weights and libtorch. See "Memory" in docs/serve.md.
func (l *serveLimits) fit(memory int64) {
	d := serve.DefaultLimits
	if memory > 0 {
		d.Decoding, d.Bodies = min(d.Decoding, memory/4), max(min(d.Bodies, memory/16), l.MaxBody)
		if os.Getenv("GOMEMLIMIT") == "" {
			debug.SetMemoryLimit(memory / 2)
		}
	}
	if l.MaxDecoding == 0 {
		l.MaxDecoding = d.Decoding
	}
	if l.MaxBodies == 0 {
		l.MaxBodies = max(d.Bodies, l.MaxBody)
	}
}
