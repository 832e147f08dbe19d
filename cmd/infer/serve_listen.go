package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
)

// address is one --addr.
type address struct {
	flag, network, at string
}

// parseAddresses reads --addr.
func parseAddresses(flags []string) (list []address, err error) {
	for _, flag := range flags {
		path, unix := strings.CutPrefix(flag, "unix:")
		if unix && path != "" {
			list = append(list, address{flag, "unix", path})
			continue
		}
		host, port, err := net.SplitHostPort(flag)
		if err != nil || unix {
			return nil, usageError(fmt.Sprintf("--addr %s must be HOST:PORT, such as 127.0.0.1:8080, or unix:PATH", flag))
		}
		if host == "" {
			host = "127.0.0.1"
		}
		list = append(list, address{flag, "tcp", net.JoinHostPort(host, port)})
	}
	return list, nil
}

// parseProxies reads --trusted-proxy.
func parseProxies(flags []string) (list []netip.Prefix, err error) {
	for _, flag := range flags {
		p, err := netip.ParsePrefix(flag)
		if err != nil {
			var ip netip.Addr
			if ip, err = netip.ParseAddr(flag); err == nil {
				p = netip.PrefixFrom(ip, ip.BitLen())
			}
		}
		if err != nil {
			return nil, usageError(fmt.Sprintf("--trusted-proxy %s must be an address or a network, such as 127.0.0.1 or 10.0.0.0/8", flag))
		}
		list = append(list, p.Masked())
	}
	return list, nil
}

// parseURL reads the address of another server that a flag names; nil without it.
func parseURL(flag, value, example string) (*url.URL, error) {
	if value == "" {
		return nil, nil
	}
	u, err := url.Parse(value)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, usageError(fmt.Sprintf("%s %s must be %s", flag, value, example))
	}
	return u, nil
}

// listen opens the addresses, unless systemd has passed sockets.
func listen(ctx context.Context, addresses []address) (list []net.Listener, err error) {
	passed, err := activation.Listeners()
	if err != nil {
		return nil, fmt.Errorf("the sockets that systemd passed: %w", err)
	}
	for _, l := range passed {
		if l != nil { // of a kind that is no listener
			list = append(list, l)
		}
	}
	if len(list) > 0 {
		return list, nil
	}
	for _, a := range addresses {
		l, err := listenOn(ctx, a)
		if err != nil {
			closeAll(list)
			return nil, fmt.Errorf("--addr %s: %w", a.flag, err)
		}
		list = append(list, l)
	}
	return list, nil
}

// listenOn replaces a socket that a server which was killed has left.
func listenOn(ctx context.Context, a address) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, a.network, a.at)
	if a.network != "unix" {
		return l, err
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		c, dialed := net.DialTimeout("unix", a.at, time.Second)
		if dialed == nil {
			c.Close()
			return nil, err
		}
		info, failed := os.Lstat(a.at)
		if failed != nil || info.Mode().Type() != os.ModeSocket {
			return nil, fmt.Errorf("%w, and it is not a socket", err)
		}
		if err := os.Remove(a.at); err != nil {
			return nil, err
		}
		l, err = new(net.ListenConfig).Listen(ctx, a.network, a.at)
	}
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(a.at, 0o660); err != nil { // who may connect is trusted as a proxy is
		l.Close()
		return nil, err
	}
	return l, nil
}

func closeAll(list []net.Listener) {
	for _, l := range list {
		l.Close()
	}
}

// private is whether no other machine can connect.
func private(list []net.Listener) bool {
	for _, l := range list {
		if a, ok := l.Addr().(*net.TCPAddr); ok && !a.IP.IsLoopback() {
			return false
		}
	}
	return true
}

func addressesText(list []net.Listener, base string) string {
	var texts []string
	for _, l := range list {
		if l.Addr().Network() == "unix" {
			texts = append(texts, "unix:"+l.Addr().String())
			continue
		}
		texts = append(texts, "http://"+l.Addr().String()+base)
	}
	return strings.Join(texts, ", ")
}

// tellSystemd says that the server is ready, that it lives as often as the unit's WatchdogSec asks for,
// and when ctx ends that it stops. Without systemd it does nothing.
func tellSystemd(ctx context.Context) (end func()) {
	ready()
	stop := context.AfterFunc(ctx, func() { notify(daemon.SdNotifyStopping) })
	every, err := daemon.SdWatchdogEnabled(false)
	if err != nil || every == 0 {
		return func() { stop() }
	}
	go func() {
		for ticker := time.NewTicker(every / 2); ctx.Err() == nil; <-ticker.C {
			notify(daemon.SdNotifyWatchdog)
		}
	}()
	return func() { stop() }
}

func ready() { notify(daemon.SdNotifyReady) }

func reloading() { notify(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec()) }

func notify(state string) { _, _ = daemon.SdNotify(false, state) } // nobody listens
