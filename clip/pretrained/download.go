package pretrained

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	longestBackoff = 30 * time.Second
	longestAsked   = 2 * time.Minute // a server that asks for more than this is not waited for
	headway        = 1 << 20         // bytes that make a failed try count as one that went well
)

// download fetches the first candidate that a server has.
func (f *finder) download(ctx context.Context, wanted []candidate) (File, error) {
	servers, err := findServers()
	if err != nil {
		return File{}, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableCompression = true // weights do not shrink, and ranges count their bytes as they are
	defer transport.CloseIdleConnections()
	var failures []string
	silent := map[string]bool{} // hosts that cannot be reached
	for _, c := range wanted {
		a := servers.address(c)
		if silent[a.url.Host] {
			continue
		}
		file, err := f.fetch(ctx, transport, c, a)
		switch {
		case err == nil:
			return file, nil
		case ctx.Err() != nil || !elsewhere(err) || len(wanted) == 1:
			return File{}, err
		}
		failures = append(failures, err.Error())
		silent[a.url.Host] = unreachable(err)
	}
	return File{}, errors.New(strings.Join(failures, "; "))
}

// elsewhere tells whether another server may have what this one could not give.
func elsewhere(err error) bool {
	var status *statusError
	return unreachable(err) || errors.As(err, &status) && status.missing()
}

// unreachable tells whether no connection came about.
func unreachable(err error) bool {
	var dns *net.DNSError
	var op *net.OpError
	return errors.As(err, &dns) || errors.As(err, &op) && op.Op == "dial"
}

// fetch downloads one candidate into goclip's cache, going on where an earlier run stopped.
func (f *finder) fetch(ctx context.Context, transport http.RoundTripper, c candidate, a address) (File, error) {
	own := f.own(c)
	if err := os.MkdirAll(filepath.Dir(own.path), 0o755); err != nil {
		return File{}, diskError(err, own.path)
	}
	p, err := openPart(ctx, own.path, f.Log)
	if err != nil {
		return File{}, err
	}
	defer p.close()
	if file, err := f.check(ctx, own); err == nil { // another process had the lock, and has just finished
		return file, nil
	}
	d := &delivery{finder: f, transport: transport, candidate: c, from: a, part: p}
	if err := d.run(ctx); err != nil {
		if ctx.Err() != nil && p.size > 0 {
			err = fmt.Errorf("stopped; %d bytes of %s are kept in %s and the next run goes on from there: %w", p.size, c.file, p.path(), ctx.Err())
		}
		return File{}, err
	}
	file := File{Path: own.path, Size: p.size, Sum: p.digest(), Origin: FromNetwork}
	if err := p.commit(); err != nil {
		return File{}, err
	}
	f.remember(own, file)
	return file, nil
}

// delivery is the requests for one file, until its part is whole.
type delivery struct {
	*finder
	transport http.RoundTripper
	candidate candidate
	from      address
	part      *part
}

// transient marks a failure that a second try may not meet.
type transient struct{ error }

func (t transient) Unwrap() error { return t.error }

// run repeats requests until the bytes are all there and have the right hash. Failures count from the last one that
// brought new bytes, so a long file on a bad line arrives and a server that only wastes time is left.
func (d *delivery) run(ctx context.Context) error {
	failed, furthest := 0, d.part.size
	for {
		err := d.request(ctx)
		if err == nil {
			err = d.verify()
		}
		if err == nil || ctx.Err() != nil {
			return err
		}
		if d.part.size-furthest >= headway {
			failed, furthest = 0, d.part.size
		}
		failed++
		wait, again := d.again(err, failed)
		if !again {
			return err
		}
		if failed >= d.Retries {
			return fmt.Errorf("%w (gave up after %d tries)", err, failed)
		}
		d.Log(fmt.Sprintf("%s: %v; trying again in %s", d.candidate.file, err, wait.Round(time.Millisecond)))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// errMixed is for bytes of several requests that do not fit together.
var errMixed = errors.New("the parts do not fit together, so the file is fetched anew")

// again tells whether another try makes sense, and after what time; failed counts the tries that did not go well.
func (d *delivery) again(err error, failed int) (time.Duration, bool) {
	var status *statusError
	var dns *net.DNSError
	var t transient
	switch {
	case errors.Is(err, errMixed):
		return 0, true
	case errors.As(err, &status) && (!status.temporary() || status.after > longestAsked):
		return 0, false
	case status != nil && status.asked:
		return status.after, true
	case status == nil && !errors.As(err, &t), errors.As(err, &dns) && dns.IsNotFound:
		return 0, false
	}
	wait := min(d.Backoff<<min(failed-1, 16), longestBackoff)
	return wait*3/4 + rand.N(wait/2+1), true // people who lost one server at once do not come back at once
}

// verify compares the part's hash with the one that is known beforehand, or the one that the hub sent.
func (d *delivery) verify() error {
	p := d.part
	want := cmp.Or(d.candidate.hash, p.about.SHA256)
	switch {
	case want == "":
		d.Log(fmt.Sprintf("no SHA-256 is known of %s: only its size was checked", d.candidate.file))
		return nil
	case strings.HasPrefix(p.digest(), want):
		return nil
	case p.resumed:
		if err := p.begin(about{Size: -1}); err != nil {
			return err
		}
		return errMixed
	default:
		got := p.digest()
		p.drop()
		return fmt.Errorf("%s sent other bytes than were published: the SHA-256 of %s begins with %s and should begin with %s; nothing was kept",
			d.from.url.Host, d.candidate.file, got[:8], want[:8])
	}
}

// receive appends a response's body to the part. A body that ends early is transient, one that does not end is not.
func (d *delivery) receive(body io.Reader, w *watch) error {
	p := d.part
	buf := make([]byte, 256<<10)
	for {
		w.reset()
		n, err := body.Read(buf)
		if total := p.about.Size; total >= 0 && p.size+int64(n) > total {
			p.drop()
			return fmt.Errorf("%s sends more than the %d bytes that it announced; nothing was kept", d.from.url.Host, total)
		}
		if p.size+int64(n) > d.MaxBytes {
			p.drop()
			return d.tooLarge()
		}
		if n > 0 {
			w.stop() // a slow disk is no stalled server
			if err := p.write(buf[:n]); err != nil {
				return err
			}
			d.Progress(Progress{d.candidate.file, d.from.url.Host, p.size, p.about.Size})
		}
		switch {
		case err == io.EOF && (p.about.Size < 0 || p.size == p.about.Size):
			return nil
		case err == io.EOF, errors.Is(err, io.ErrUnexpectedEOF):
			return transient{fmt.Errorf("%s closed the connection in mid-file, after %d bytes", d.from.url.Host, p.size)}
		case err != nil:
			return w.explain(transient{fmt.Errorf("%s: %w", d.from.url.Host, err)})
		}
	}
}

func (d *delivery) tooLarge() error {
	return fmt.Errorf("%s is larger than the limit of %d bytes", d.candidate.file, d.MaxBytes)
}
