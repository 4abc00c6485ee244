package zookeeper

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/go-zookeeper/zk"

	"github.com/tamias-project/tamias/internal/testkit/zkserver"
	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
)

// TestStaleLeaderIsRefusedByZooKeeper: even a leader that believes in itself writes nothing.
func TestStaleLeaderIsRefusedByZooKeeper(t *testing.T) {
	c := newCluster(t, zkserver.Shared(t).Address())
	a := c.process()
	first := c.lead(a, dispatcher)
	c.put(first, "old/node", "kept")
	first.Resign(c.context())
	second := c.lead(a, dispatcher)
	for _, tc := range []struct {
		name      string
		candidacy *candidacy
		epoch     int32
	}{
		{"its latch node is gone", first.candidacy, second.epoch},
		{"a later epoch has begun", second.candidacy, first.epoch},
	} {
		for _, w := range []haservices.Write{
			{Operation: haservices.Create, Path: "old/new", Data: []byte("late")},
			{Operation: haservices.Create, Path: "old/node", Data: []byte("kept")},
			{Operation: haservices.Set, Path: "old/node", Data: []byte("late"), Version: haservices.AnyVersion},
			{Operation: haservices.Put, Path: "old/node", Data: []byte("late")},
			{Operation: haservices.Delete, Path: "old/node", Version: haservices.AnyVersion},
			{Operation: haservices.Delete, Path: "old", Version: haservices.AnyVersion},
			{Operation: haservices.Delete, Path: "nothing", Version: haservices.AnyVersion},
		} {
			stale := &Term{
				driver: a.Driver, session: second.session, candidacy: tc.candidacy, component: dispatcher, epoch: tc.epoch,
				token: first.token, lost: make(chan struct{}), stop: func() {}, publishing: first.publishing,
			}
			if err := stale.Write(c.context(), w); !errors.Is(err, haservices.ErrNotLeader) {
				t.Errorf("%s: %s %s = %v, want ErrNotLeader", tc.name, operationNames[w.Operation], w.Path, err)
			}
			if err := stale.tell(c.context(), "tamias://late:1/dispatcher"); !errors.Is(err, haservices.ErrNotLeader) {
				t.Errorf("%s: tell = %v, want ErrNotLeader", tc.name, err)
			}
			if !stale.over() {
				t.Errorf("%s: a refused write does not end the term", tc.name)
			}
		}
	}
	if n, err := a.Read(c.context(), "old/node"); err != nil || string(n.Data) != "kept" {
		t.Errorf("Read = %q, %v, want kept", n.Data, err)
	}
	leads(t, second)
}

// TestWhatAnOperatorSees reads the nodes with ZooKeeper's own command line.
func TestWhatAnOperatorSees(t *testing.T) {
	server := zkserver.Shared(t)
	c := newCluster(t, server.Address())
	a := c.process()
	rest := haservices.Component{Kind: haservices.RestServer}
	term := c.lead(a, rest)
	if err := term.Publish(c.context(), "http://127.0.0.1:8081"); err != nil {
		t.Fatal(err)
	}
	var seen leadership
	c.get(server, "leaderlatch/rest_server_lock", &seen)
	if seen.Token != term.Token() || seen.Epoch != 1 || seen.Contender != a.me || seen.Since.IsZero() {
		t.Errorf("the latch says %+v, want epoch 1 of %+v", seen, a.me)
	}
	var contender latchNode
	c.get(server, "leaderlatch/rest_server_lock/"+c.contenders(c.outside(), rest)[0].name, &contender)
	if contender.Contender != a.me {
		t.Errorf("the contender says %+v, want %+v", contender, a.me)
	}
	var leader haservices.LeaderInformation
	c.get(server, "leader/rest_server_lock", &leader)
	if want := (haservices.LeaderInformation{Address: "http://127.0.0.1:8081", Token: term.Token()}); leader != want {
		t.Errorf("the leader node says %+v, want %+v", leader, want)
	}
	data, stat, err := c.outside().Get(c.root + "/leader/rest_server/connection_info")
	if err != nil || string(data) != string(connectionInfo(leader)) || stat.EphemeralOwner == 0 {
		t.Errorf("connection_info = %q, %+v, %v", data, stat, err)
	}
	term.Resign(c.context())
	for _, path := range []string{"/leader/rest_server_lock", "/leader/rest_server/connection_info"} {
		if exists, _, err := c.outside().Exists(c.root + path); exists || err != nil {
			t.Errorf("%s after Resign: exists %v, %v", path, exists, err)
		}
	}
}

func (c *cluster) get(server *zkserver.Server, path string, v any) {
	c.t.Helper()
	out := server.CLI(c.t, "get", c.root+"/"+path)
	for l := range strings.Lines(out) {
		if strings.HasPrefix(l, "{") {
			if err := json.Unmarshal([]byte(l), v); err != nil {
				c.t.Errorf("%s holds %s: %v", path, l, err)
			}
			return
		}
	}
	c.t.Errorf("zkCli.sh get %s shows no JSON:\n%s", path, out)
}

func TestConnectionInfoIsWhatFlinkReads(t *testing.T) {
	token, err := id.ParseFencingToken("00112233-4455-6677-8899-aabbccddeeff")
	if err != nil {
		t.Fatal(err)
	}
	const uuidClass = "7372000e6a6176612e7574696c2e55554944bc9903f7986d852f020002" +
		"4a000c6c65617374536967426974734a000b6d6f7374536967426974737870"
	const uuid = "8899aabbccddeeff0011223344556677"
	for _, tc := range []struct {
		address, want string
		size          int
	}{
		{"http://127.0.0.1:8081", "aced0005" + "7717" + "0015" + hex.EncodeToString([]byte("http://127.0.0.1:8081")) + uuidClass + uuid, 105},
		{strings.Repeat("x", 300), "aced0005" + "7a0000012e" + "012c" + strings.Repeat("78", 300) + uuidClass + uuid, 387},
	} {
		got := connectionInfo(haservices.LeaderInformation{Address: tc.address, Token: token})
		if hex.EncodeToString(got) != tc.want || len(got) != tc.size {
			t.Errorf("connection_info of %.30s is %d bytes, want %d:\n%x\n%s", tc.address, len(got), tc.size, got, tc.want)
		}
	}
}

// TestLeaderNodeIsRepaired: somebody deleted or changed what the leader has published.
func TestLeaderNodeIsRepaired(t *testing.T) {
	c := newCluster(t, zkserver.Shared(t).Address())
	a, b := c.process(), c.process()
	path := c.root + "/leader/dispatcher_lock"
	outside := c.outside()
	if _, err := outside.Create("/tamias-test", nil, 0, zk.WorldACL(zk.PermAll)); err != nil && !errors.Is(err, zk.ErrNodeExists) {
		t.Fatal(err)
	}
	term := c.lead(a, dispatcher)
	if err := term.Publish(c.context(), "tamias://a:1/dispatcher"); err != nil {
		t.Fatal(err)
	}
	for _, damage := range []func() error{
		func() error { return outside.Delete(path, -1) },
		func() error { _, err := outside.Set(path, []byte("rubbish"), -1); return err },
		func() error { _, err := outside.Set(path, nil, -1); return err },
	} {
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the leader writes again", func() bool {
			data, _, err := outside.Get(path)
			return err == nil && strings.Contains(string(data), term.Token().String())
		})
	}
	for l := range c.observe(b, dispatcher) {
		if l.Token == term.Token() {
			break
		}
	}
}

// TestWatchesDoNotPileUp: the client library keeps every watch that it was ever asked for.
func TestWatchesDoNotPileUp(t *testing.T) {
	server := zkserver.Shared(t)
	c := newCluster(t, server.Address())
	a := c.process()
	told := make(chan struct{}, 1)
	observe := func() {
		ctx, cancel := cancelled(t)
		defer cancel()
		err := a.Observe(ctx, dispatcher, func(haservices.LeaderInformation) {
			cancel()
			select {
			case told <- struct{}{}:
			default:
			}
		})
		if ctx.Err() == nil {
			t.Fatal(err)
		}
	}
	term := c.lead(a, dispatcher)
	if err := term.Publish(c.context(), "tamias://a:1/dispatcher"); err != nil {
		t.Fatal(err)
	}
	observe()
	count := func() [2]string {
		watches := server.Command("wchs")
		return [2]string{fmt.Sprint(libraryWatches(term.session.conn)), watches[strings.LastIndex(watches, "Total"):]}
	}
	before := count()
	for range 1000 {
		observe()
	}
	if after := count(); after != before || after[0] != "0" {
		t.Errorf("watches of the library and of the server after 1000 observations: %q, before: %q", after, before)
	}
}

// libraryWatches counts the channels that the library keeps for watches.
func libraryWatches(conn *zk.Conn) (n int) {
	all := reflect.ValueOf(conn).Elem().FieldByName("watchers")
	for it := all.MapRange(); it.Next(); {
		n += it.Value().Len()
	}
	return n
}

func TestCreatorACL(t *testing.T) {
	c := newCluster(t, zkserver.Shared(t).Address())
	c.change = func(cfg *Config) {
		cfg.ACL, cfg.Authorization = "creator", map[string]string{"digest": "tamias:secret"}
	}
	a, b := c.process(), c.process()
	term := c.lead(a, dispatcher)
	c.put(term, "jobgraphs/a", "1")
	outside := c.outside()
	for _, path := range []string{"/jobgraphs/a", "/jobgraphs", "/leaderlatch/dispatcher_lock"} {
		if _, err := outside.Set(c.root+path, nil, -1); !errors.Is(err, zk.ErrNoAuth) {
			t.Errorf("a stranger sets %s: %v, want no permission", path, err)
		}
	}
	if n, err := b.Read(c.context(), "jobgraphs/a"); err != nil || string(n.Data) != "1" {
		t.Errorf("Read with the same authorization = %q, %v", n.Data, err)
	}
	a.proxy.Disconnect()
	eventually(t, "the authorization is repeated on the new connection", func() bool {
		w := haservices.Write{Operation: haservices.Put, Path: "jobgraphs/a", Data: []byte("2")}
		return term.Write(c.context(), w) == nil
	})
}

func TestLargeTreeIsDeleted(t *testing.T) {
	c := newCluster(t, zkserver.Shared(t).Address())
	a := c.process()
	term := c.lead(a, dispatcher)
	for i := range 2*batch + 10 {
		c.put(term, fmt.Sprintf("jobs/j/checkpoints/%019d", i), "x")
	}
	version := func() int64 {
		n, err := a.Read(c.context(), "jobs/j")
		if err != nil {
			t.Fatal(err)
		}
		return n.Version
	}
	w := haservices.Write{Operation: haservices.Delete, Path: "jobs/j", Version: version() + 1}
	if err := term.Write(c.context(), w); !errors.Is(err, haservices.ErrVersion) {
		t.Errorf("Delete of another version = %v, want ErrVersion", err)
	}
	if names, err := a.Children(c.context(), "jobs/j/checkpoints"); len(names) != 2*batch+10 {
		t.Errorf("after a refused Delete there are %d children, %v", len(names), err)
	}
	w.Version = version()
	if err := term.Write(c.context(), w); err != nil {
		t.Errorf("Delete = %v", err)
	}
	if _, err := a.Read(c.context(), "jobs/j"); !errors.Is(err, haservices.ErrNotFound) {
		t.Errorf("Read = %v, want ErrNotFound", err)
	}
}
