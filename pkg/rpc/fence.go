package rpc

import (
	"fmt"

	"github.com/tamias-project/tamias/pkg/id"
)

// A Guard decides on the receiver's main thread whether a call may be carried out. It returns an error
// that wraps ErrFenced when the token is not good for the request.
type Guard interface {
	Check(token id.FencingToken, request any) error
}

// GuardFunc is a Guard made of a function.
type GuardFunc func(token id.FencingToken, request any) error

// Check calls f.
func (f GuardFunc) Check(token id.FencingToken, request any) error { return f(token, request) }

// LeaderFence guards a leader: calls must carry exactly the token of its present term, and between terms
// none is good. Owned by the leader's main thread.
type LeaderFence struct {
	leading bool
	token   id.FencingToken
}

// Grant begins a term.
func (f *LeaderFence) Grant(token id.FencingToken) { f.leading, f.token = true, token }

// Revoke ends the term.
func (f *LeaderFence) Revoke() { f.leading, f.token = false, id.FencingToken{} }

// Check refuses every token but that of the present term.
func (f *LeaderFence) Check(token id.FencingToken, _ any) error {
	switch {
	case !f.leading:
		return fmt.Errorf("%w: this process does not lead", ErrFenced)
	case token != f.token:
		return fmt.Errorf("%w: leader session is %s (epoch %d), message has %s (epoch %d)",
			ErrFenced, f.token, f.token.Epoch(), token, token.Epoch())
	}
	return nil
}

// FollowerFence guards a follower against leaders of the past: it knows the highest token seen and
// refuses lower epochs, and other tokens of the same epoch. Owned by the follower's main thread.
type FollowerFence struct {
	highest id.FencingToken
}

// Highest is the token of the newest leader seen.
func (f *FollowerFence) Highest() id.FencingToken { return f.highest }

// Observe notes the token of a leader, from a call or from leader retrieval. It returns an error that
// wraps ErrFenced, and changes nothing, when token is older than one seen.
func (f *FollowerFence) Observe(token id.FencingToken) error {
	if token.Epoch() < f.highest.Epoch() || token.Epoch() == f.highest.Epoch() && token != f.highest {
		return fmt.Errorf("%w: a leader of epoch %d (%s) is known, message has epoch %d (%s)",
			ErrFenced, f.highest.Epoch(), f.highest, token.Epoch(), token)
	}
	f.highest = token
	return nil
}

// Check is Observe: a call with a higher token raises the fence.
func (f *FollowerFence) Check(token id.FencingToken, _ any) error { return f.Observe(token) }
