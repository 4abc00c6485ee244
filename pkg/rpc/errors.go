package rpc

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/tamias-project/tamias/pkg/protocol"
)

var (
	// ErrFenced: the caller's token is not this leader's, or is older than one seen. Do not retry; ask
	// leader retrieval again.
	ErrFenced = errors.New("rpc: fencing token does not match")
	// ErrStopped: the component is stopping or has stopped. Ask leader retrieval again.
	ErrStopped = errors.New("rpc: endpoint stopped")
	// ErrUnreachable: nothing answered at the address, or the connection broke. Whether the call was carried
	// out is unknown.
	ErrUnreachable = errors.New("rpc: peer unreachable")
	// ErrNoEndpoint: the process answers but does not run that component (yet, or any more).
	ErrNoEndpoint = errors.New("rpc: no such endpoint")
	// ErrVersion: one of the two processes is too old for the other. The text says which one to upgrade;
	// repeating does not help before that.
	ErrVersion = errors.New("rpc: protocol version not understood")
	// ErrGone: the watched process has certainly ended.
	ErrGone = errors.New("rpc: process is gone")
	// ErrSilent: the watched process has not answered for the agreed time; it may live.
	ErrSilent = errors.New("rpc: process is silent")
	// ErrCutOff: nobody who followed this leader is heard any more. Give leadership up: another process may
	// reach them.
	ErrCutOff = errors.New("rpc: no follower is heard")
)

const fencedCode = "fenced"

// sentinel is an error with its code on the wire.
type sentinel struct {
	code string
	err  error
}

// sentinels are those of this package, protocol.Codes, and those of contexts. Of an error that is several of them the
// first one counts: why somebody stopped waiting says more than that.
var sentinels = slices.Concat([]sentinel{
	{fencedCode, ErrFenced},
	{"version", ErrVersion},
	{"no-endpoint", ErrNoEndpoint},
	{"stopped", ErrStopped},
}, protocolSentinels(), []sentinel{
	{"deadline-exceeded", context.DeadlineExceeded},
	{"canceled", context.Canceled},
})

func protocolSentinels() []sentinel {
	var all []sentinel
	for _, code := range slices.Sorted(maps.Keys(protocol.Codes)) {
		all = append(all, sentinel{code, protocol.Codes[code]})
	}
	return all
}

// codeOf returns the wire code of err: of the first of the sentinels that it is, else "error".
func codeOf(err error) string {
	for _, s := range sentinels {
		if errors.Is(err, s.err) {
			return s.code
		}
	}
	return "error"
}

// errorOf is the inverse of codeOf: an error that prints message and is what code says.
func errorOf(code, message string) error {
	i := slices.IndexFunc(sentinels, func(s sentinel) bool { return s.code == code })
	if i < 0 {
		return errors.New(message)
	}
	return &remoteError{message: message, is: sentinels[i].err}
}

// remoteError is an error of the far side: its text, and which known error it is.
type remoteError struct {
	message string
	is      error
}

func (e *remoteError) Error() string { return e.message }
func (e *remoteError) Unwrap() error { return e.is }

func unreachable(address string, err error) error {
	return fmt.Errorf("%w: %s: %w", ErrUnreachable, address, err)
}
