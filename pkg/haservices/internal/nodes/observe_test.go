package nodes

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
)

// TestObserversOfOneComponentShareALook: each is told the leader, and who leaves takes nothing from the others.
func TestObserversOfOneComponentShareALook(t *testing.T) {
	tree, err := NewTree(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	events := NewEvents(zap.NewNop())
	defer events.Close()
	leaders := NewLeaders(tree, events, time.Hour, zap.NewNop()) // what is seen was told by the directory
	c := haservices.JobMaster(id.NewJob())
	type observer struct {
		told  chan haservices.LeaderInformation
		ended chan error
	}
	observe := func(ctx context.Context) observer {
		o := observer{make(chan haservices.LeaderInformation, 8), make(chan error, 1)}
		go func() {
			o.ended <- leaders.Observe(ctx, nil, c, func(l haservices.LeaderInformation) { o.told <- l })
		}()
		return o
	}
	publish := func(epoch uint64) haservices.LeaderInformation {
		l := haservices.LeaderInformation{Address: "tamias://a:1/x", Token: id.NewFencingToken(epoch)}
		if err := leaders.Publish(c, haservices.Contender{}, l.Token, l.Address); err != nil {
			t.Fatal(err)
		}
		return l
	}
	ctx, leave := context.WithCancel(t.Context())
	first, second := observe(ctx), observe(t.Context())
	want := publish(1)
	for name, o := range map[string]observer{"first": first, "second": second} {
		if got := <-o.told; got != want {
			t.Errorf("%s observer was told %v, want %v", name, got, want)
		}
	}
	leave()
	if err := <-first.ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Observe of one who left = %v, want %v", err, context.Canceled)
	}
	want = publish(2)
	if got := <-second.told; got != want {
		t.Errorf("who stayed was told %v, want %v", got, want)
	}
	late := observe(t.Context())
	if got := <-late.told; got != want {
		t.Errorf("who came late was told %v, want %v", got, want)
	}
	other := haservices.JobMaster(id.NewJob())
	if err := leaders.Publish(other, haservices.Contender{}, id.NewFencingToken(1), "tamias://b:1/x"); err != nil {
		t.Fatal(err)
	}
	want = publish(3)
	if got := <-second.told; got != want {
		t.Errorf("after a leader of another job was published: told %v, want %v", got, want)
	}
}
