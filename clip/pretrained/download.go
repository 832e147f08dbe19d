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
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	maxBackoff    = 30 * time.Second
	maxRetryAfter = 2 * time.Minute // a server that asks for more than this is not waited for
	headway       = 1 << 20         // bytes that make a failed try count as one that went well
)

// network is what downloads go through.
type network struct {
	*http.Transport
	servers servers
}

// dial reads the environment. The caller closes the idle connections.
func dial() (*network, error) {
	s, err := findServers()
	if err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableCompression = true // weights do not shrink, and ranges count their bytes as they are
	return &network{transport, s}, nil
}

// download fetches the first candidate that a server has.
func (f *finder) download(ctx context.Context, wanted []candidate) (File, error) {
	web, err := dial()
	if err != nil {
		return File{}, err
	}
	defer web.CloseIdleConnections()
	var failures []string
	gone := true
	silent := map[string]bool{} // hosts that cannot be reached
	for _, c := range wanted {
		host := web.servers.address(c).url.Host
		if silent[host] {
			continue
		}
		file, err := f.fetch(ctx, web, c)
		switch {
		case err == nil:
			return file, nil
		case ctx.Err() != nil || !elsewhere(err) || len(wanted) == 1:
			return File{}, err
		}
		failures = append(failures, err.Error())
		gone = gone && errors.Is(err, ErrNotFound)
		silent[host] = unreachable(err)
	}
	err = errors.New(strings.Join(failures, "; "))
	if gone {
		err = marked{err, ErrNotFound}
	}
	return File{}, err
}

// elsewhere reports whether another server may have what this one could not give.
func elsewhere(err error) bool {
	var status *statusError
	return unreachable(err) || errors.As(err, &status) && status.missing()
}

// unreachable reports whether no connection came about.
func unreachable(err error) bool {
	var dns *net.DNSError
	var op *net.OpError
	return errors.As(err, &dns) || errors.As(err, &op) && op.Op == "dial"
}

// fetch downloads one candidate into goclip's cache, going on where an earlier run stopped.
func (f *finder) fetch(ctx context.Context, web *network, c candidate) (File, error) {
	target := f.landing(c)
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return File{}, diskError(err, target)
	}
	p, err := openPart(ctx, target, f.Log)
	if err != nil {
		return File{}, err
	}
	defer p.close()
	if file, ok := f.present(ctx, c); ok { // another process had the lock, and has just finished
		return file, nil
	}
	d := &delivery{finder: f, transport: web, candidate: c, from: web.servers.address(f.pinned(c)), part: p}
	if err := d.run(ctx); err != nil {
		if ctx.Err() != nil && p.size > 0 {
			err = fmt.Errorf("stopped; %d bytes of %s are kept in %s and the next run resumes there: %w", p.size, c.file, p.path(), ctx.Err())
		}
		return File{}, err
	}
	if err := f.settle(ctx, c, p); err != nil {
		return File{}, err
	}
	own := f.own(c)
	file := File{Path: own.path, Size: p.size, Sum: p.digest(), Origin: FromNetwork}
	f.remember(own, file)
	return file, nil
}

// pinned is the candidate at the commit that goclip's cache has for its revision, so that files of
// a snapshot are all of one commit. Those with a place of their own are of the revision.
func (f *finder) pinned(c candidate) candidate {
	if commit := repoIn(f.ownHub(), c.repo).commit(c.revision()); c.place == "" && commit != "" {
		c.rev = commit
	}
	return c
}

// landing is the name beside which a candidate's part lies. A blob of the hub whose hash is not
// known yet has a name made of the revision's and the file's.
func (f *finder) landing(c candidate) string {
	if c.place != "" {
		return f.own(c).path
	}
	return repoIn(f.ownHub(), c.repo).blob(cmp.Or(c.hash, url.PathEscape(c.revision()+"/"+c.file)))
}

// settle gives a whole part its name: in the hub's layout a blob's, with a link and the revision's
// reference.
func (f *finder) settle(ctx context.Context, c candidate, p *part) error {
	if c.place != "" {
		return p.commit(ctx, p.target)
	}
	repo := repoIn(f.ownHub(), c.repo)
	blob := repo.blob(cmp.Or(c.hash, p.about.hash(), p.digest()))
	if err := p.commit(ctx, blob); err != nil {
		return err
	}
	commit := cmp.Or(p.about.Commit, c.revision())
	if err := repo.link(blob, commit, c.file); err != nil {
		return err
	}
	return repo.refer(c.revision(), commit)
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

// run repeats requests until the bytes are all there and have the right hash.
func (d *delivery) run(ctx context.Context) error {
	return d.retry(ctx, func() error {
		if err := d.request(ctx); err != nil {
			return err
		}
		return d.verify(ctx)
	})
}

// retry repeats try until it succeeds or fails for good. Failures count from the last one that
// brought new bytes, so a long file on a bad line arrives and a server that only wastes time is
// left.
func (d *delivery) retry(ctx context.Context, try func() error) error {
	size := func() int64 {
		if d.part == nil {
			return 0
		}
		return d.part.size
	}
	failed, furthest := 0, size()
	for {
		err := try()
		if err == nil || ctx.Err() != nil {
			return err
		}
		if size()-furthest >= headway {
			failed, furthest = 0, size()
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
var errMixed = errors.New("the parts do not fit together, so the file is downloaded again")

// again reports whether another try makes sense, and after what time; failed counts the tries that
// did not go well.
func (d *delivery) again(err error, failed int) (time.Duration, bool) {
	var status *statusError
	var dns *net.DNSError
	var t transient
	switch {
	case errors.Is(err, errMixed):
		return 0, true
	case errors.As(err, &status) && (!status.temporary() || status.after > maxRetryAfter):
		return 0, false
	case status != nil && status.asked:
		return status.after, true
	case status == nil && !errors.As(err, &t), errors.As(err, &dns) && dns.IsNotFound:
		return 0, false
	}
	wait := min(d.Backoff<<min(failed-1, 16), maxBackoff)
	return wait*3/4 + rand.N(wait/2+1), true // people who lost one server at once do not come back at once
}

// verify compares the part's hash with the one that is known beforehand, or the one that the hub
// sent.
func (d *delivery) verify(ctx context.Context) error {
	p := d.part
	want := cmp.Or(d.candidate.hash, p.about.hash())
	if want == "" {
		d.Log(fmt.Sprintf("no SHA-256 is known of %s: only its size was checked", d.candidate.file))
		return nil
	}
	kind, got, err := mismatch(ctx, p.path(), p.digest(), want)
	switch {
	case err != nil || kind == "":
		return err
	case p.resumed:
		if err := p.begin(about{Size: -1}); err != nil {
			return err
		}
		return errMixed
	default:
		p.drop()
		return marked{fmt.Errorf("%s sent other bytes than were published: the %s of %s begins with %s and should begin with %s; nothing was kept",
			d.from.url.Host, kind, d.candidate.file, got[:8], want[:8]), ErrChecksum}
	}
}

// receive appends a response's body to the part. A body that ends early is transient, one that does
// not end is not.
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
			return transient{fmt.Errorf("%s closed the connection in the middle of the file, after %d bytes", d.from.url.Host, p.size)}
		case err != nil:
			return w.explain(transient{fmt.Errorf("%s: %w", d.from.url.Host, err)})
		}
	}
}

func (d *delivery) tooLarge() error {
	return fmt.Errorf("%s is larger than the limit of %d bytes", d.candidate.file, d.MaxBytes)
}
