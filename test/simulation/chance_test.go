package simulation

import (
	"hash/fnv"
	"sync"
	"time"

	"github.com/tamias-project/tamias/pkg/haservices/embedded"
)

// chance draws faults of single messages. The network and the HA cluster ask on many goroutines, whose
// order no seed fixes; so each draw depends on the seed, on what is asked, and on how often that was asked
// before, and not on what else happened meanwhile.
type chance struct {
	seed uint64
	// lose is the probability that the answer of a message is lost, late that the message arrives late and
	// its sender thinks it lost.
	lose, late float64
	latency    time.Duration

	mu    sync.Mutex // guards the rest
	asked map[uint64]uint64
	quiet bool
}

func newChance(seed uint64) *chance {
	return &chance{seed: seed, latency: 5 * time.Millisecond, asked: map[uint64]uint64{}}
}

// draw returns 64 random bits.
func (c *chance) draw(what ...string) uint64 {
	h := fnv.New64a()
	for _, s := range what {
		h.Write([]byte(s))
		h.Write([]byte{0})
	}
	key := h.Sum64()
	c.mu.Lock()
	c.asked[key]++
	n := c.asked[key]
	c.mu.Unlock()
	return mix(c.seed ^ mix(key^mix(n)))
}

// mix is the finisher of SplitMix64.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func (c *chance) delay(what ...string) time.Duration {
	return time.Duration(c.draw(what...) % uint64(c.latency))
}

func (c *chance) happens(probability float64, what ...string) bool {
	if probability == 0 {
		return false
	}
	c.mu.Lock()
	quiet := c.quiet
	c.mu.Unlock()
	return !quiet && float64(c.draw(what...)>>11)/(1<<53) < probability
}

func (c *chance) loses(what ...string) bool { return c.happens(c.lose, what...) }

func (c *chance) outcome(call embedded.Call) embedded.Outcome {
	if !c.loses("outcome", call.Process, call.Operation, call.Path) {
		return embedded.Answered
	}
	of := []embedded.Outcome{embedded.LoseAnswer, embedded.LoseRequest, embedded.Refuse}
	return of[c.draw("kind", call.Process, call.Operation)%uint64(len(of))]
}

// delayed reports whether a message arrives late, and by how much.
func (c *chance) delayed(from, to, method string) (time.Duration, bool) {
	if !c.happens(c.late, "late", from, to, method) {
		return 0, false
	}
	// Most by less than a retry takes, some by so much that a new leader may have come.
	most := []time.Duration{50 * time.Millisecond, time.Second, 10 * time.Second}
	n := c.draw("by", from, to)
	return time.Duration(n>>2) % most[n%3], true
}

// pause suspends the faults of single messages, or lets them happen again.
func (c *chance) pause(quiet bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.quiet = quiet
}
