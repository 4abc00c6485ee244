package zookeeper

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/tamias-project/tamias/internal/testkit/zkserver"
	"github.com/tamias-project/tamias/pkg/haservices"
)

// TestAnUnconfirmedLeaderWritesNothing: a leader that has not published itself yet sees its leader node
// change. It leaves alone what others wrote: erasing it would take good information away for ever.
func TestAnUnconfirmedLeaderWritesNothing(t *testing.T) {
	c := newCluster(t, zkserver.Shared(t).Address())
	a := c.process()
	confirmed := c.lead(a, haservices.Component{Kind: haservices.ResourceManager})
	unconfirmed := c.lead(a, dispatcher)
	outside, path := c.outside(), c.root+"/leader/dispatcher_lock"
	for _, change := range []func() error{
		func() error { return confirmed.Publish(c.context(), "tamias://a:1/resource_manager") },
		func() error { return create(outside, path, "somebody else's") },
		func() error { _, err := outside.Set(path, []byte("changed"), -1); return err },
	} {
		if err := change(); err != nil {
			t.Fatal(err)
		}
		c.put(confirmed, "jobgraphs/a", "1") // later than whatever the change made the leader do
		leads(t, unconfirmed)
	}
	quiet := time.After(200 * time.Millisecond)
	for waiting := true; waiting; {
		select {
		case <-quiet:
			waiting = false
		case <-time.After(10 * time.Millisecond):
		}
		data, stat, err := outside.Get(path)
		if err != nil || string(data) != "changed" || stat.EphemeralOwner != 0 {
			t.Fatalf("the leader node holds %q, owned by %x, %v: a leader that has confirmed nothing wrote it", data, stat.EphemeralOwner, err)
		}
	}
	if exists, _, err := outside.Exists(c.root + "/leader/dispatcher/connection_info"); exists || err != nil {
		t.Errorf("connection_info exists: %v, %v, want nothing before Publish", exists, err)
	}
	if err := unconfirmed.Publish(c.context(), "tamias://a:1/dispatcher"); err != nil {
		t.Errorf("Publish over what somebody else wrote: %v", err)
	}
}

func create(conn *zk.Conn, path, data string) error {
	if _, err := conn.Create(parent(path), nil, 0, zk.WorldACL(zk.PermAll)); err != nil && !errors.Is(err, zk.ErrNodeExists) {
		return err
	}
	_, err := conn.Create(path, []byte(data), 0, zk.WorldACL(zk.PermAll))
	return err
}

// TestWhatHappenedWhileAnObserverWasCutOffIsToldOnce: across an interruption without a change nothing is
// told, across one with a change the new leader, once. (Suspended connections are tolerated here.)
func TestWhatHappenedWhileAnObserverWasCutOffIsToldOnce(t *testing.T) {
	c := newCluster(t, zkserver.Shared(t).Address())
	a, b, watcher := c.process(), c.process(), c.process()
	told := c.observe(watcher, dispatcher)
	first := c.lead(a, dispatcher)
	if err := first.Publish(c.context(), "tamias://a:1/dispatcher"); err != nil {
		t.Fatal(err)
	}
	if l := await(t, told, "news of the leader"); l.Token != first.Token() {
		t.Fatalf("told %v, want the first leader", l)
	}
	watcher.proxy.Cut()
	watcher.proxy.Heal(t)
	c.reads(watcher)

	watcher.proxy.Cut()
	first.Resign(c.context())
	second := c.lead(b, dispatcher)
	if err := second.Publish(c.context(), "tamias://b:1/dispatcher"); err != nil {
		t.Fatal(err)
	}
	watcher.proxy.Heal(t)
	for l := range told { // that there was none in between may be told or not, depending on who is faster
		if l.IsEmpty() {
			continue
		}
		if l.Token != second.Token() {
			t.Errorf("told %v, want the second leader", l)
		}
		break
	}
	c.reads(watcher)
	select {
	case l := <-told:
		t.Errorf("told %v again", l)
	default:
	}
}

// reads returns when p hears the server again.
func (c *cluster) reads(p *process) {
	c.t.Helper()
	eventually(c.t, "the server is heard again", func() bool {
		_, err := p.Read(c.context(), "nothing/there")
		return errors.Is(err, haservices.ErrNotFound)
	})
}

// TestALeaderOfALostSessionLeavesItsSuccessorAlone: the library goes on under a new session as if nothing had
// happened, and would send under it what the old leader had in its queue, or delete the leader node that is not
// its own. Nothing of that reaches ZooKeeper.
func TestALeaderOfALostSessionLeavesItsSuccessorAlone(t *testing.T) {
	c := newCluster(t, zkserver.Shared(t).Address())
	a, b := c.process(), c.process()
	first := c.lead(a, dispatcher)
	c.put(first, "jobgraphs/a", "first")
	if err := first.Publish(c.context(), "tamias://a:1/dispatcher"); err != nil {
		t.Fatal(err)
	}
	a.proxy.Hold()
	late := make(chan error, 3) // room for all
	for _, w := range []haservices.Write{
		{Operation: haservices.Put, Path: "jobgraphs/a", Data: []byte("late")},
		{Operation: haservices.Create, Path: "jobgraphs/b", Data: []byte("late")},
		{Operation: haservices.Delete, Path: "jobgraphs/a", Version: haservices.AnyVersion},
	} {
		go func() { late <- first.Write(c.context(), w) }()
	}
	a.proxy.Expire(t)
	second := c.lead(b, dispatcher)
	if err := second.Publish(c.context(), "tamias://b:1/dispatcher"); err != nil {
		t.Fatal(err)
	}
	outside, path := c.outside(), c.root+"/leader/dispatcher_lock"
	data, stat, err := outside.Get(path)
	if err != nil {
		t.Fatal(err)
	}
	a.proxy.Heal(t)
	await(t, first.Lost(), "the end of the first term")
	for range cap(late) {
		if err := await(t, late, "the end of a late write"); err == nil {
			t.Error("a late write succeeded")
		}
	}
	next := c.contend(a, dispatcher) // under its new session, from nothing
	eventually(t, "the first contends again", func() bool { return len(c.contenders(outside, dispatcher)) == 2 })
	now, after, err := outside.Get(path)
	if err != nil || string(now) != string(data) || after.Mzxid != stat.Mzxid {
		t.Errorf("the leader node holds %q, changed at %x, %v; want %q, changed at %x", now, after.Mzxid, err, data, stat.Mzxid)
	}
	if n, err := b.Read(c.context(), "jobgraphs/a"); err != nil || string(n.Data) != "first" {
		t.Errorf("Read = %q, %v, want first", n.Data, err)
	}
	if _, err := b.Read(c.context(), "jobgraphs/b"); !errors.Is(err, haservices.ErrNotFound) {
		t.Errorf("Read of what was created late = %v, want ErrNotFound", err)
	}
	select {
	case <-next:
		t.Error("the first leads again beside the second")
	default:
	}
	leads(t, second)
}

// TestALatchNodeWhoseAnswerWasLostIsFoundAgain: the answer of the create is lost, and for a while no server can be
// reached. The session outlives that, and so does the node: without it nobody would ever lead.
func TestALatchNodeWhoseAnswerWasLostIsFoundAgain(t *testing.T) {
	c := newCluster(t, zkserver.Shared(t).Address())
	a := c.process()
	c.lead(a, dispatcher).Resign(c.context()) // the parents exist from here on
	eaten := a.proxy.EatAnswer(zkserver.OpCreate)
	won := c.contend(a, dispatcher)
	await(t, eaten, "loss of the answer")
	a.proxy.Cut()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := a.Read(ctx, "jobgraphs/a"); err == nil { // all attempts of a second are refused
		t.Error("Read without a server succeeded")
	}
	a.proxy.Heal(t)
	term := await(t, won, "the term")
	if got := c.contenders(c.outside(), dispatcher); len(got) != 1 {
		t.Errorf("the latch has the nodes %v, want one", got)
	}
	leads(t, term)
}

// TestALeaderDoesNotReactToItsOwnWrites: publishing changes the nodes that a leader watches. If it wrote them again
// each time, it would never stop.
func TestALeaderDoesNotReactToItsOwnWrites(t *testing.T) {
	c := newCluster(t, zkserver.Shared(t).Address())
	a := c.process()
	term := c.lead(a, haservices.Component{Kind: haservices.RestServer})
	for _, address := range []string{"http://a:8081", "http://a:8082"} {
		if err := term.Publish(c.context(), address); err != nil {
			t.Fatal(err)
		}
	}
	outside := c.outside()
	changed := func() (all [3]int64) {
		for i, path := range []string{"/leader/rest_server_lock", "/leader/rest_server/connection_info", "/leaderlatch/rest_server_lock"} {
			_, stat, err := outside.Get(c.root + path)
			if err != nil {
				t.Fatal(err)
			}
			all[i] = stat.Mzxid
		}
		return all
	}
	before := changed()
	for i := range 20 {
		c.put(term, "jobgraphs/a", string(rune('a'+i))) // each takes longer than an answer to an event would
	}
	if after := changed(); after != before {
		t.Errorf("the nodes changed at %x, before at %x", after, before)
	}
}
