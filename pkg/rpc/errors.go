package rpc

import (
	"context"
	"errors"
	"fmt"

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

// sentinels of this package's errors on the wire, beside protocol.Codes.
var sentinels = map[string]error{
	fencedCode:          ErrFenced,
	"stopped":           ErrStopped,
	"no-endpoint":       ErrNoEndpoint,
	"version":           ErrVersion,
	"deadline-exceeded": context.DeadlineExceeded,
	"canceled":          context.Canceled,
}

// codeOf returns the wire code of err: of the first known error in its chain, else "error".
func codeOf(err error) string {
	for code, known := range sentinels {
		if errors.Is(err, known) {
			return code
		}
	}
	for code, known := range protocol.Codes {
		if errors.Is(err, known) {
			return code
		}
	}
	return "error"
}

// errorOf is the inverse of codeOf: an error that prints message and is what code says.
func errorOf(code, message string) error {
	known, ok := sentinels[code]
	if !ok {
		known, ok = protocol.Codes[code]
	}
	if !ok {
		return errors.New(message)
	}
	return &remoteError{message: message, is: known}
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
