// Package rpc carries calls between components. It owns the main thread on which a component's state
// lives, the fence that every call passes before it reaches that state, and the wire: gRPC between
// processes, an in-memory network (rpctest) in simulations. It knows no component.
//
// A component makes an Endpoint, registers its calls with Handle, and adds the endpoint to its
// process's Service. A caller makes a Gateway to an address under a leader's token and uses Invoke.
package rpc

import (
	"cmp"
	"context"
	"sync/atomic"
	"time"
)

// MainThread runs functions one at a time, in the order they were posted. Fields that only those
// functions touch need no lock. A posted function must not block: no I/O, no sleep, no RPC, and no
// Call or Post to its own thread, which would wait for itself. Flink's RpcEndpoint main thread
// executor.
type MainThread struct {
	inbox   chan func()
	stopped chan struct{} // closed when Run returns
	busy    atomic.Int64  // nanoseconds spent in posted functions
}

// NewMainThread returns a main thread that does not run yet.
func NewMainThread() *MainThread {
	return &MainThread{
		// Room for a burst of registrations, so that posters rarely wait; order is kept either way.
		inbox:   make(chan func(), 256),
		stopped: make(chan struct{}),
	}
}

// Run serves the inbox until ctx ends. The caller owns the goroutine and calls Run once. Functions
// still in the inbox are dropped; their callers get ErrStopped.
func (m *MainThread) Run(ctx context.Context) error {
	defer close(m.stopped)
	for {
		select {
		case <-ctx.Done():
			return nil
		case f := <-m.inbox:
			start := time.Now()
			f()
			m.busy.Add(int64(time.Since(start)))
		}
	}
}

// Busy is the total time spent in posted functions.
func (m *MainThread) Busy() time.Duration { return time.Duration(m.busy.Load()) }

// Post queues f. It reports false, and f will not run, when the thread has stopped or ctx ended first.
// True means queued: f is still dropped if the thread stops before its turn.
func (m *MainThread) Post(ctx context.Context, f func()) bool {
	select {
	case <-m.stopped:
		return false
	default:
	}
	select {
	case m.inbox <- f:
		return true
	case <-m.stopped:
		return false
	case <-ctx.Done():
		return false
	}
}

// Call runs f on m's main thread and returns its result. If ctx ends first it returns ctx.Err() and f
// may still run, so f must not write to variables of the caller. When the thread stops before
// f's turn it returns ErrStopped, and f does not run.
func Call[T any](ctx context.Context, m *MainThread, f func() (T, error)) (v T, err error) {
	type result struct {
		v   T
		err error
	}
	reply := make(chan result, 1) // room for one: the main thread never waits for a caller that left
	if !m.Post(ctx, func() { v, err := f(); reply <- result{v, err} }) {
		return v, cmp.Or(ctx.Err(), ErrStopped)
	}
	select {
	case r := <-reply:
		return r.v, r.err
	case <-m.stopped:
		select {
		case r := <-reply: // f was the last one to run
			return r.v, r.err
		default:
			return v, ErrStopped
		}
	case <-ctx.Done():
		return v, ctx.Err()
	}
}

// Do is Call for a function without result.
func Do(ctx context.Context, m *MainThread, f func()) error {
	_, err := Call(ctx, m, func() (struct{}, error) { f(); return struct{}{}, nil })
	return err
}
