package distributed

/*
#include <stdlib.h>
#include "../../csrc/goclip.h"
*/
import "C"

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
	"unsafe"

	_ "github.com/goclip/goclip/csrc" // the C++ behind the header
)

// Store is a key-value store that the processes of a job share: c10d's TCPStore.
type Store struct {
	c *C.gc_store

	Port int // where it is served
}

// Serve opens a store for others to connect to; port 0 takes a free one. Closing it ends it for all.
func Serve(port int) (*Store, error) {
	s, err := openStore("localhost", port, true, time.Minute)
	if err != nil && strings.Contains(err.Error(), "EADDRINUSE") {
		return nil, fmt.Errorf("the port %d (MASTER_PORT) is in use on this host; set another", port)
	}
	return s, err
}

// connect waits until the store answers: its server may start later.
func connect(ctx context.Context, host string, port int, timeout time.Duration) (*Store, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	address := net.JoinHostPort(host, strconv.Itoa(port))
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err == nil {
			_ = conn.Close()
			return openStore(host, port, false, timeout)
		}
		if !pause(ctx) {
			return nil, fmt.Errorf("the store at %s (MASTER_ADDR, MASTER_PORT) does not answer: %w; is rank 0 running there?", address, err)
		}
	}
}

// pause waits a moment before another try, unless ctx is at its end.
func pause(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(20 * time.Millisecond):
		return true
	}
}

func openStore(host string, port int, serve bool, timeout time.Duration) (*Store, error) {
	name := C.CString(host)
	defer C.free(unsafe.Pointer(name))
	var s Store
	var bound C.int32_t
	served := C.int(0)
	if serve {
		served = 1
	}
	if err := message(C.gc_store_open(name, C.int32_t(port), served, C.int64_t(timeout.Milliseconds()), &s.c, &bound)); err != nil {
		return nil, fmt.Errorf("the store at %s:%d: %w", host, port, err)
	}
	s.Port = int(bound)
	return &s, nil
}

// Close ends the connection and, of a served store, the store.
func (s *Store) Close() { C.gc_store_close(s.c) }

func (s *Store) set(key, value string) error {
	k, v := C.CString(key), C.CString(value)
	defer C.free(unsafe.Pointer(k))
	defer C.free(unsafe.Pointer(v))
	return message(C.gc_store_set(s.c, k, unsafe.Pointer(v), C.size_t(len(value))))
}

// wait returns the key's value once somebody has set it.
func (s *Store) wait(ctx context.Context, key string) (string, error) {
	k := C.CString(key)
	defer C.free(unsafe.Pointer(k))
	for {
		var data unsafe.Pointer
		var n C.size_t
		if err := message(C.gc_store_get(s.c, k, &data, &n)); err != nil {
			return "", err
		}
		if data != nil {
			defer C.free(data)
			return C.GoStringN((*C.char)(data), C.int(n)), nil
		}
		if !pause(ctx) {
			return "", ctx.Err()
		}
	}
}

// message is the first line of C's error message, which it frees; nil if there is none.
func message(msg *C.char) error {
	if msg == nil {
		return nil
	}
	defer C.gc_free_message(msg)
	first, _, _ := strings.Cut(C.GoString(msg), "\n")
	return errors.New(first)
}
