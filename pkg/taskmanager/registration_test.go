package taskmanager

import (
	"fmt"
	"testing"
	"time"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/rpc"
)

func TestLeadersThatAreGoneAreNotPestered(t *testing.T) {
	gone := fmt.Errorf("watch: %w", rpc.ErrGone)
	for _, tc := range []struct {
		name   string
		leader id.FencingToken
		reason error
		want   time.Duration
	}{
		{"its process has ended: another one will lead", id.NewFencingToken(1), gone, lastBackoff},
		{"its process has ended: the next one has the same address and token", id.FencingToken{}, gone, firstBackoff},
		{"it is silent", id.NewFencingToken(1), rpc.ErrSilent, firstBackoff},
		{"it does not know this TaskManager any more", id.NewFencingToken(1), rpc.ErrNoEndpoint, firstBackoff},
	} {
		if got := afterLoss(tc.leader, tc.reason); got != tc.want {
			t.Errorf("%s: pause %s, want %s", tc.name, got, tc.want)
		}
	}
}
