package data

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// openPipe is the output of a shell's command line. It is run again, from its beginning, where it
// ends with an error.
func openPipe(command string) opener {
	return func(ctx context.Context, from int64, _ string) (content, error) {
		p := &pipe{cmd: exec.CommandContext(ctx, "sh", "-c", command)}
		p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // its children end with it
		p.cmd.Cancel = func() error { return syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) }
		p.cmd.WaitDelay = time.Second
		p.cmd.Stderr = &p.says
		out, err := p.cmd.StdoutPipe()
		if err == nil {
			err = p.cmd.Start()
		}
		if err != nil {
			return content{}, permanent{fmt.Errorf("%s: %w", command, err)}
		}
		p.out = out
		if err := skip(p, from); err != nil {
			return content{}, err
		}
		return content{ReadCloser: p, size: -1}, nil
	}
}

// pipe reads what a command writes. Its end is an error where the command's is.
type pipe struct {
	cmd   *exec.Cmd
	out   io.Reader
	says  tail
	ended error // io.EOF: it did its work
}

func (p *pipe) Read(b []byte) (int, error) {
	if p.ended != nil {
		return 0, p.ended
	}
	n, err := p.out.Read(b)
	if err == nil {
		return n, nil
	}
	if p.ended = io.EOF; p.cmd.Wait() != nil {
		p.ended = fmt.Errorf("the command ended with %s%s", p.cmd.ProcessState, p.says.text())
	}
	return n, p.ended
}

func (p *pipe) Close() error {
	if p.ended == nil {
		_ = p.cmd.Cancel()
		_ = p.cmd.Wait()
		p.ended = io.ErrClosedPipe
	}
	return nil
}

// tail keeps the end of what a command says, for a message.
type tail struct{ bytes.Buffer }

func (t *tail) Write(text []byte) (int, error) {
	if t.Len() > 4<<10 {
		t.Reset()
	}
	return t.Buffer.Write(text)
}

func (t *tail) text() string {
	lines := strings.Split(strings.TrimSpace(t.String()), "\n")
	if last := lines[len(lines)-1]; last != "" {
		return ": " + last
	}
	return ""
}
