package distributed

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestHub joins a world by hand: a wrong word is not let in, a number is given once, and the sizes must agree.
func TestHub(t *testing.T) {
	h, err := newHub(2, "127.0.0.1:0", time.Minute, time.Minute)
	require.NoError(t, err)
	var links []*link
	say := func(f frame) *link {
		conn, err := net.Dial("tcp", h.listener.Addr().String())
		require.NoError(t, err)
		l := newLink(conn, time.Minute)
		links = append(links, l)
		l.send(f)
		return l
	}
	_, err = say(frame{Kind: hello, Token: "guessed", Size: 2, Hosts: []string{"a"}}).receive()
	require.Error(t, err)
	_, err = say(frame{Kind: beat}).receive()
	require.Error(t, err)

	joins := func(rank, size int) *link {
		return say(frame{Kind: hello, Token: h.token, Rank: rank, Size: size, Hosts: []string{"host"}})
	}
	first := joins(1, 2)
	require.Eventually(t, func() bool { h.mu.Lock(); defer h.mu.Unlock(); return h.members[1] != nil }, time.Minute, time.Millisecond)
	for _, c := range []struct {
		rank, size int
		says       string
	}{
		{1, 2, "it cannot join as rank 1 of 2: rank 0 leads 2 processes, each rank once"},
		{2, 3, "it cannot join as rank 2 of 3: rank 0 leads 2 processes"},
		{-1, 2, "it cannot join as rank -1 of 2"},
	} {
		f, err := joins(c.rank, c.size).receive()
		require.NoError(t, err)
		assert.Equal(t, failed, f.Kind)
		assert.Contains(t, f.Text, c.says)
	}
	second := joins(0, 2)
	for _, l := range []*link{first, second} {
		f, err := l.receive()
		require.NoError(t, err)
		assert.Equal(t, frame{Kind: welcome, Hosts: []string{"host", "host"}, Addr: "127.0.0.1"}, f)
	}
	first.send(frame{Kind: fail, Text: "one"})
	for _, l := range []*link{first, second} {
		f, err := l.receive()
		require.NoError(t, err)
		assert.Equal(t, frame{Kind: failed, Rank: 1, Text: "one", Hosts: []string{"host"}}, f)
	}
	for _, l := range links {
		_ = l.conn.Close()
	}
	h.close()
}
