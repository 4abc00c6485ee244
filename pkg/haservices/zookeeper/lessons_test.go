package zookeeper

import (
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
