package rpc

import (
	"sync"
	"time"
)

// Followers knows when a process last heard any of those that follow its leaders. One that is silent may be
// lost; when all are, it is more likely this process that was cut off. The zero value has heard nobody.
type Followers struct {
	mu    sync.Mutex // guards heard
	heard time.Time
}

// Heard notes a sign of life of any of them.
func (f *Followers) Heard(now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now.After(f.heard) {
		f.heard = now
	}
}

// CutOff is asked when one of them has been silent for timeout, several heartbeat intervals. It reports whether
// nobody has been heard for most of that time. Those that were cut off together were last heard within one
// interval, so half of the timeout tells them from others that live.
func (f *Followers) CutOff(now time.Time, timeout time.Duration) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return now.Sub(f.heard) >= timeout/2
}
