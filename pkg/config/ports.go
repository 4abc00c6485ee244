package config

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"strconv"
	"strings"
	"syscall"
)

// Ports is a choice of TCP ports that are tried in order: "8081", "50100-50200", "50100,50105-50110". Port
// 0 is any free one.
type Ports struct{ ranges []portRange }

type portRange struct{ first, last int }

// SinglePort is the choice of one port.
func SinglePort(port int) Ports { return Ports{[]portRange{{port, port}}} }

// All yields the ports in the order in which they are to be tried.
func (p Ports) All() iter.Seq[int] {
	return func(yield func(int) bool) {
		for _, r := range p.ranges {
			for port := r.first; port <= r.last; port++ {
				if !yield(port) {
					return
				}
			}
		}
	}
}

// Listen listens on host at the first of the ports that is free. The error names the host and the choice.
func (p Ports) Listen(ctx context.Context, host string) (net.Listener, error) {
	var listen net.ListenConfig
	var last error
	for port := range p.All() {
		l, err := listen.Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		if err == nil {
			return l, nil
		}
		last = err
		if !errors.Is(err, syscall.EADDRINUSE) && !errors.Is(err, syscall.EACCES) {
			break // the next port would not help
		}
	}
	if op := (*net.OpError)(nil); errors.As(last, &op) {
		last = op.Err // the rest is said here
	}
	return nil, fmt.Errorf("listen on %s, port %s: %w", host, p, last)
}

// String is the form that parses to p.
func (p Ports) String() string {
	texts := make([]string, len(p.ranges))
	for i, r := range p.ranges {
		texts[i] = strconv.Itoa(r.first)
		if r.last != r.first {
			texts[i] += "-" + strconv.Itoa(r.last)
		}
	}
	return strings.Join(texts, ",")
}

func parsePorts(s string) (Ports, error) {
	var p Ports
	for part := range strings.SplitSeq(s, ",") {
		from, to, isRange := strings.Cut(part, "-")
		first, err := parsePort(from)
		if err != nil {
			return Ports{}, err
		}
		last := first
		if isRange {
			if last, err = parsePort(to); err != nil {
				return Ports{}, err
			}
		}
		if last < first || isRange && first == 0 {
			return Ports{}, fmt.Errorf("%q is not a range of ports", strings.TrimSpace(part))
		}
		p.ranges = append(p.ranges, portRange{first, last})
	}
	return p, nil
}

func parsePort(s string) (int, error) {
	n, err := parseInteger(s)
	if err != nil {
		return 0, err
	}
	if n < 0 || n > 65535 {
		return 0, errRange
	}
	return n, nil
}
