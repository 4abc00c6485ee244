package id

import (
	"encoding/binary"
	"fmt"

	"github.com/google/uuid"
)

// FencingToken is a leader session ID: a UUID (version 8, RFC 9562) whose top 48 bits are the epoch of
// the component's leader, so that any receiver can order two leaders. The zero token is Flink's
// DEFAULT_LEADER_ID: the session of every leader when high-availability.type is NONE.
type FencingToken [16]byte

// MaxEpoch is the largest epoch that a token can hold.
const MaxEpoch = 1<<48 - 1

// NewFencingToken returns a fresh token of epoch, which is 1..MaxEpoch; other values panic, because
// an epoch comes from a store's version counter that cannot reach them.
func NewFencingToken(epoch uint64) FencingToken {
	if epoch == 0 || epoch > MaxEpoch {
		panic(fmt.Sprintf("id: epoch %d out of range 1..%d", epoch, uint64(MaxEpoch)))
	}
	t := FencingToken(random())
	binary.BigEndian.PutUint16(t[0:], uint16(epoch>>32))
	binary.BigEndian.PutUint32(t[2:], uint32(epoch))
	t[6] = t[6]&0x0f | 0x80 // version 8
	t[8] = t[8]&0x3f | 0x80 // variant of RFC 9562
	return t
}

// ParseFencingToken reads the usual UUID text.
func ParseFencingToken(s string) (FencingToken, error) {
	u, err := uuid.Parse(s)
	if err != nil {
		return FencingToken{}, fmt.Errorf("cannot parse leader session ID from %q: %w", s, err)
	}
	return FencingToken(u), nil
}

// Epoch is the leader's ordinal, 0 for the zero token.
func (t FencingToken) Epoch() uint64 {
	return uint64(binary.BigEndian.Uint16(t[0:]))<<32 | uint64(binary.BigEndian.Uint32(t[2:]))
}

// IsZero reports whether t is DEFAULT_LEADER_ID.
func (t FencingToken) IsZero() bool { return t == FencingToken{} }

// String returns the usual UUID text.
func (t FencingToken) String() string { return uuid.UUID(t).String() }

// MarshalText encodes t as String does.
func (t FencingToken) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (t *FencingToken) UnmarshalText(text []byte) (err error) {
	*t, err = ParseFencingToken(string(text))
	return err
}
