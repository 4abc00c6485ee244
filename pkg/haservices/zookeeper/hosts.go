package zookeeper

import (
	"context"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"go.uber.org/zap"
)

// resolveTimeout bounds the look-up of one name; the names of a quorum are looked up side by side.
const resolveTimeout = 2 * time.Second

// hosts names the next server to try. Names are looked up again before each round, and those that cannot
// be resolved are skipped: one wrong name in the quorum, or a server that moved, is no obstacle. It is
// the zk.HostProvider of one session and is asked by that session's connection loop only.
type hosts struct {
	names   []string
	lookUp  func(ctx context.Context, host string) ([]string, error)
	stopped func() bool
	log     *zap.Logger

	round []string // addresses left to try in this round
	size  int      // of the round
	// failures counts how often in a row each of the names could not be resolved.
	failures []int
}

// worthALine picks from a row of failures those that are logged: the first ones, then fewer and fewer.
func worthALine(failures int) bool { return failures&(failures-1) == 0 }

// Init implements zk.HostProvider. Look-ups happen in Next, so that no name can keep us from starting.
func (h *hosts) Init(servers []string) error {
	h.names, h.size, h.failures = servers, len(servers), make([]int, len(servers))
	return nil
}

// Len implements zk.HostProvider.
func (h *hosts) Len() int { return h.size }

// Next implements zk.HostProvider. The library looks whether it has been closed only when it is told that
// a round is over; the pause between rounds is the dialer's.
func (h *hosts) Next() (server string, roundOver bool) {
	if h.stopped() {
		return h.names[0], true
	}
	if len(h.round) == 0 {
		h.round = h.resolve()
		h.size = len(h.round)
	}
	server, h.round = h.round[0], h.round[1:]
	return server, false
}

// Connected implements zk.HostProvider.
func (h *hosts) Connected() {}

// resolve returns the addresses of all names in random order; if no name can be resolved the names
// themselves, so that the error of dialling them is seen.
func (h *hosts) resolve() []string {
	ctx, cancel := context.WithTimeout(context.Background(), resolveTimeout)
	defer cancel()
	var wg sync.WaitGroup
	found := make([][]string, len(h.names))
	for i, name := range h.names {
		wg.Go(func() {
			host, port, err := net.SplitHostPort(name)
			if err != nil {
				return // Config.servers has added the port
			}
			addresses, err := h.lookUp(ctx, host)
			if err == nil {
				h.failures[i] = 0
			} else if h.failures[i]++; worthALine(h.failures[i]) {
				h.log.Warn("zookeeper server name not resolved", zap.String("server", name), zap.Error(err))
			}
			for _, a := range addresses {
				found[i] = append(found[i], net.JoinHostPort(a, port))
			}
		})
	}
	wg.Wait()
	var all []string
	for _, addresses := range found {
		all = append(all, addresses...)
	}
	if len(all) == 0 {
		all = append(all, h.names...)
	}
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}
