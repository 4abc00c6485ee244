package zookeeper

import (
	"errors"
	"testing"

	"github.com/tamias-project/tamias/internal/testkit/zkserver"
	"github.com/tamias-project/tamias/pkg/haservices"
)

// TestLostAnswerOfCreate: the latch node exists, but nobody told us. A second node would keep the first
// one, which nobody leads from, in front of everyone.
func TestLostAnswerOfCreate(t *testing.T) {
	c := newCluster(t, zkserver.Shared(t).Address())
	a := c.process()
	c.lead(a, dispatcher).Resign(c.context()) // the parents exist from here on
	eaten := a.proxy.EatAnswer(zkserver.OpCreate)
	term := c.lead(a, dispatcher)
	await(t, eaten, "loss of the answer")
	if got := c.contenders(c.outside(), dispatcher); len(got) != 1 {
		t.Errorf("the latch has the nodes %v, want one", got)
	}
	if got := term.Token().Epoch(); got != 2 {
		t.Errorf("epoch %d, want 2", got)
	}
}

// TestLostAnswerOfCreateWhenTheCallerLeaves: nobody waits any more, the node must go all the same.
func TestLostAnswerOfCreateWhenTheCallerLeaves(t *testing.T) {
	c := newCluster(t, zkserver.Shared(t).Address())
	a, b := c.process(), c.process()
	term := c.lead(a, dispatcher)
	ctx, cancel := cancelled(t)
	defer cancel()
	eaten := b.proxy.EatAnswer(zkserver.OpCreate)
	ended := make(chan error, 1)
	go func() {
		_, err := b.Campaign(ctx, dispatcher, b.me)
		ended <- err
	}()
	await(t, eaten, "loss of the answer")
	cancel()
	await(t, ended, "end of the campaign")
	outside := c.outside()
	eventually(t, "the node is deleted", func() bool { return len(c.contenders(outside, dispatcher)) == 1 })
	leads(t, term)
}

func TestLostAnswerOfWinning(t *testing.T) {
	c := newCluster(t, zkserver.Shared(t).Address())
	a := c.process()
	eaten := a.proxy.EatAnswer(zkserver.OpMulti)
	term := c.lead(a, dispatcher)
	await(t, eaten, "loss of the answer")
	if got := term.Token().Epoch(); got != 1 {
		t.Errorf("epoch %d, want 1: the first transaction was carried out", got)
	}
	c.put(term, "jobgraphs/a", "1")
}

func TestLostAnswerOfWrite(t *testing.T) {
	c := newCluster(t, zkserver.Shared(t).Address())
	a := c.process()
	term := c.lead(a, dispatcher)
	c.put(term, "jobgraphs/a", "1")
	for _, w := range []haservices.Write{
		{Operation: haservices.Set, Path: "jobgraphs/a", Data: []byte("2"), Version: 0},
		{Operation: haservices.Create, Path: "jobgraphs/b", Data: []byte("3")},
		{Operation: haservices.Put, Path: "jobgraphs/b", Data: []byte("4")},
		{Operation: haservices.Delete, Path: "jobgraphs/b", Version: 2}, // written by create, and by put twice
	} {
		what := operationNames[w.Operation]
		eaten := a.proxy.EatAnswer(zkserver.OpMulti)
		if err := term.Write(c.context(), w); !errors.Is(err, haservices.ErrUnknownOutcome) {
			t.Errorf("%s without answer = %v, want ErrUnknownOutcome", what, err)
		}
		await(t, eaten, "loss of the answer")
		n, err := a.Read(c.context(), w.Path)
		if w.Operation == haservices.Delete && !errors.Is(err, haservices.ErrNotFound) || w.Operation != haservices.Delete && string(n.Data) != string(w.Data) {
			t.Errorf("after %s without answer: Read = %q, %v", what, n.Data, err)
		}
		if err := term.Write(c.context(), w); err != nil {
			t.Errorf("%s again = %v, want success", what, err)
		}
	}
	leads(t, term)
}

func TestLostAnswerOfPublish(t *testing.T) {
	c := newCluster(t, zkserver.Shared(t).Address())
	a, b := c.process(), c.process()
	told := c.observe(b, dispatcher)
	term := c.lead(a, dispatcher)
	eaten := a.proxy.EatAnswer(zkserver.OpMulti)
	err := term.Publish(c.context(), "tamias://a:1/dispatcher")
	await(t, eaten, "loss of the answer")
	if err != nil && !errors.Is(err, haservices.ErrUnknownOutcome) {
		t.Errorf("Publish without answer = %v, want ErrUnknownOutcome", err)
	}
	if err := term.Publish(c.context(), "tamias://a:1/dispatcher"); err != nil {
		t.Errorf("Publish again = %v", err)
	}
	if l := await(t, told, "news of the leader"); l.Token != term.Token() {
		t.Errorf("told %v, want the token %s", l, term.Token())
	}
}
