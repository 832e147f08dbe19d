package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/goclip/goclip/serve"
	"github.com/goclip/goclip/torch"
)

type serveCmd struct {
	Model      []string      `help:"Model to serve, named as everywhere; give it several times to serve several, which are loaded at their first use (default: those of the indices, else as for infer score)." complete:"models" sep:"none" placeholder:"MODEL"`
	Pretrained string        `help:"Weights of a built-in config, where one model is served." complete:"tags"`
	Preload    bool          `help:"Load all models at the start."`
	TTL        time.Duration `name:"ttl" help:"Unload a model that nobody has used for this long, such as 10m (default: never)."`
	MaxWeights int64         `help:"Bytes of weights in memory at most; the model used the longest ago is unloaded for another (default: no bound)."`
	computeFlags

	Addr      []string `help:"Address to listen on, HOST:PORT or unix:PATH; several may be given. Without a host it is loopback; another machine is served only if one says 0.0.0.0:8080 or the like. Sockets that systemd passes take its place." default:"127.0.0.1:8080" complete:"none" sep:"none" placeholder:"ADDR"`
	Index     []string `help:"Index whose images /v1/search and the page find, as infer index writes it, of a model that is served; several may be given, each called by its directory's name." placeholder:"DIR" sep:"none"`
	Watch     bool     `help:"Keep the indices up to date: index what changes in their directories."`
	AllowEdit bool     `help:"Let clients with the token add and remove images of the indices' directories: PUT and DELETE of /v1/images/PATH."`
	engineFlag
	serveLimits

	Token          string   `help:"Bearer token that requests must have, but for the page and the probes of health; GOCLIP_TOKEN in the environment is one too, which a list of processes does not show." complete:"none"`
	Host           []string `help:"Further names in the Host header that are answered on loopback; localhost and addresses always are." sep:"none" placeholder:"NAME"`
	Alias          []string `help:"Further name that requests may call the first model by, or NAME=MODEL for another; '*' is every name." sep:"none" placeholder:"NAME"`
	BasePath       string   `help:"Path below which everything is served, too, such as /clip: of a proxy that leaves it in the address." placeholder:"PATH"`
	TrustedProxy   []string `help:"Address or network (10.0.0.0/8) of a proxy whose X-Forwarded-Host and X-Forwarded-For are believed, and whose requests may have any Host." sep:"none" placeholder:"ADDRESS"`
	CORSOrigin     []string `name:"cors-origin" help:"Site whose pages may ask from a browser, such as https://photos.example; '*' is every site." sep:"none" placeholder:"ORIGIN"`
	ImmichUpstream string   `help:"Address of Immich's own machine learning service, such as http://immich-ml:3003: faces and OCR are passed on to it, CLIP is answered here." placeholder:"URL"`
	AllowFetch     bool     `help:"Images may be given by http and https addresses, on the public internet alone."`
	CUDAGraphs     bool     `name:"cuda-graphs" help:"Capture the towers once for each size of batch and replay them, on a GPU; texts want --precision bf16 or fp16. Takes a build with CUDA graphs (make build-cuda)."`
	NoOrient       bool     `help:"Take images as they lie in the file, as open_clip does, instead of upright by their EXIF orientation."`
	LogRequests    bool     `help:"Log each request: its id, status and seconds."`
	Quiet          bool     `help:"No line for what goes wrong on the server's side."`
}

// serveLimits bound what clients may cost.
type serveLimits struct {
	MaxBody      int64         `help:"Bytes of a request." default:"33554432" group:"Limits"`
	MaxBodies    int64         `help:"Bytes of all requests that are being answered." default:"268435456" group:"Limits"`
	MaxDecoding  int64         `help:"Bytes that decoding images takes at one time, as their headers tell; the next image waits." default:"1073741824" group:"Limits"`
	MaxPixels    int64         `help:"Pixels of an image, read from its header before it is decoded." default:"50000000" group:"Limits"`
	MaxInputs    int           `help:"Texts and images of a request; more than a part of the queue go through it in parts." default:"2048" group:"Limits"`
	Queue        int           `help:"Texts and images that are accepted and not yet computed; beyond it requests get 429 at once." default:"512" group:"Limits"`
	BatchWindow  time.Duration `help:"Time that the first of a batch waits for others at most." default:"5ms" group:"Limits"`
	Decoders     int           `help:"Images decoded at a time; the default is the CPUs there are." group:"Limits"`
	Timeout      time.Duration `help:"Time that a request waits for the model; beyond it, 503." default:"30s" group:"Limits"`
	ReadTimeout  time.Duration `help:"Time for a request to arrive." default:"20s" group:"Limits"`
	WriteTimeout time.Duration `help:"Time for a client to take its answer." default:"90s" group:"Limits"`
	IdleTimeout  time.Duration `help:"Time between two requests of a connection." default:"2m" group:"Limits"`
	Grace        time.Duration `help:"Time for what was accepted, after SIGTERM or Ctrl-C." default:"30s" group:"Limits"`
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
	}{{"max-body", l.MaxBody}, {"max-bodies", l.MaxBodies}, {"max-decoding", l.MaxDecoding}, {"max-pixels", l.MaxPixels}, {"max-inputs", int64(l.MaxInputs)},
		{"queue", int64(l.Queue)}, {"batch-window", int64(l.BatchWindow)}, {"timeout", int64(l.Timeout)}, {"read-timeout", int64(l.ReadTimeout)},
		{"write-timeout", int64(l.WriteTimeout)}, {"idle-timeout", int64(l.IdleTimeout)}, {"grace", int64(l.Grace)}} {
		if f.value <= 0 {
			return usageError(fmt.Sprintf("--%s must be positive", f.flag))
		}
	}
	switch {
	case l.Decoders < 0 || l.Decoders > maxThreads:
		return usageError(fmt.Sprintf("--decoders %d must be between 1 and %d, or 0 for the default", l.Decoders, maxThreads))
	case l.MaxBody > l.MaxBodies:
		return usageError(fmt.Sprintf("--max-body %d is more than --max-bodies %d: such a request would never be accepted", l.MaxBody, l.MaxBodies))
	}
	return nil
}

func (*serveCmd) Help() string {
	return `  infer serve                                         http://127.0.0.1:8080: the page and the API
  infer serve --model logs/photos/checkpoints/latest --index photos/.goclip
  infer serve --model ViT-B-32:openai --model ViT-L-14:openai --ttl 10m
  GOCLIP_TOKEN=secret infer serve --addr 0.0.0.0:8080 --host photos.example`
}

// arenas of malloc that the server keeps; glibc's own limit is eight for each CPU.
const arenas = 2

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
	upstream, err := parseUpstream(c.ImmichUpstream)
	if err != nil {
		return err
	}
	torch.LimitArenas(arenas)
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
		BasePath: c.BasePath, Proxies: proxies, Origins: c.CORSOrigin, ImmichUpstream: upstream, AllowFetch: c.AllowFetch, NoOrient: c.NoOrient, Indices: c.indexed(shelves), Thumbnail: thumbnailOfFile, Original: original, Log: c.logger(io.err)}
	if o.Notice, err = c.notice(ctx, list, shelves); err != nil {
		return err
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
	case len(c.Index) == 0 && (c.Watch || c.AllowEdit):
		return usageError("--watch and --allow-edit need --index")
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
