package taskmanager

import (
	"errors"
	"testing"
	"time"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/rpc"
)

func TestAttachment(t *testing.T) {
	first, second := id.NewFencingToken(1), id.NewFencingToken(2)
	at := func(seconds int) time.Time { return time.Unix(1_000_000, 0).Add(time.Duration(seconds) * time.Second) }
	type step struct {
		name    string
		do      func(*attachment) error
		want    attachmentState
		wantErr error
		epoch   uint64
	}
	heard := func(token id.FencingToken, second int) func(*attachment) error {
		return func(a *attachment) error { return a.heard(token, at(second)) }
	}
	tick := func(second int) func(*attachment) error {
		return func(a *attachment) error { a.tick(at(second)); return nil }
	}
	lost := func(token id.FencingToken) func(*attachment) error {
		return func(a *attachment) error { a.lost(token); return nil }
	}
	for _, tc := range []struct {
		name  string
		steps []step
	}{
		{"leader change", []step{
			{"leased", tick(100_000), waiting, nil, 0},
			{"first master", heard(first, 0), attached, nil, 1},
			{"its process is gone", lost(first), orphaned, nil, 1},
			{"before the timeout", tick(299), orphaned, nil, 1},
			{"second master", heard(second, 299), attached, nil, 2},
			{"late message of the first", heard(first, 300), attached, rpc.ErrFenced, 2},
			{"late end of the first", lost(first), attached, nil, 2},
			{"heard until", heard(second, 300), attached, nil, 2},
			{"silence", tick(350), orphaned, nil, 2},
			{"just before expiry", tick(599), orphaned, nil, 2},
			{"expiry", tick(600), expired, nil, 2},
			{"a master that comes late", heard(second, 601), expired, nil, 2},
		}},
		{"the same master comes back", []step{
			{"master", heard(first, 0), attached, nil, 1},
			{"short silence", tick(49), attached, nil, 1},
			{"silence", tick(50), orphaned, nil, 1},
			{"back", heard(first, 60), attached, nil, 1},
			{"the clock began anew", tick(105), attached, nil, 1},
		}},
		{"a pause of this process is nobody's silence", []step{
			{"master", heard(first, 0), attached, nil, 1},
			{"awake after ten minutes", func(a *attachment) error { a.excuse(10 * time.Minute); a.tick(at(601)); return nil }, attached, nil, 1},
		}},
		{"a new slot after expiry", []step{
			{"master", heard(first, 0), attached, nil, 1},
			{"gone", lost(first), orphaned, nil, 1},
			{"expiry", tick(300), expired, nil, 1},
			{"leased again", func(a *attachment) error { a.leased(at(400)); return nil }, waiting, nil, 1},
			{"still fenced", heard(id.FencingToken{}, 401), waiting, rpc.ErrFenced, 1},
			{"second master", heard(second, 402), attached, nil, 2},
		}},
	} {
		a := &attachment{state: waiting, fence: &rpc.FollowerFence{}, orphanTimeout: 5 * time.Minute, silence: 50 * time.Second}
		for _, s := range tc.steps {
			err := s.do(a)
			if a.state != s.want || !errors.Is(err, s.wantErr) || a.fence.Highest().Epoch() != s.epoch {
				t.Errorf("%s: %s: state %s of epoch %d, %v, want %s of epoch %d, %v", tc.name, s.name, a.state, a.fence.Highest().Epoch(), err, s.want, s.epoch, s.wantErr)
			}
		}
	}
}

func TestAttachmentWithoutOrphanTimeout(t *testing.T) {
	now := time.Unix(0, 0)
	a := &attachment{state: waiting, fence: &rpc.FollowerFence{}, silence: time.Second}
	if a.tick(now.Add(time.Hour)) {
		t.Error("expired before a master was ever heard")
	}
	if err := a.heard(id.NewFencingToken(1), now); err != nil {
		t.Fatal(err)
	}
	if a.tick(now.Add(time.Second - 1)) {
		t.Error("expired while the master is heard")
	}
	if !a.tick(now.Add(time.Second)) {
		t.Error("not expired as soon as the master is silent")
	}
}
