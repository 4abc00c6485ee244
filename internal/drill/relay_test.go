package drill

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo answers each line with itself, at the address that it returns.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close()
				io.Copy(c, c)
			})
		}
	})
	t.Cleanup(func() { l.Close(); serving.Wait() })
	return l.Addr().String()
}

func relayTo(t *testing.T, target string) *relay {
	t.Helper()
	r, err := startRelay("127.0.0.1:0", target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.close)
	return r
}

func dial(t *testing.T, address string) *caller {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &caller{t, c, bufio.NewReader(c)}
}

type caller struct {
	t *testing.T
	net.Conn
	answers *bufio.Reader
}

func (c *caller) say(line string) {
	c.t.Helper()
	if _, err := fmt.Fprintln(c, line); err != nil {
		c.t.Fatal(err)
	}
}

func (c *caller) hear(want string) {
	c.t.Helper()
	c.SetReadDeadline(time.Now().Add(time.Minute))
	if got, err := c.answers.ReadString('\n'); err != nil || got != want+"\n" {
		c.t.Fatalf("heard %q, %v; want %q", got, err, want)
	}
}

// silent: nothing comes, and the connection stays open.
func (c *caller) silent() {
	c.t.Helper()
	c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if got, err := c.answers.ReadString('\n'); !os.IsTimeout(err) {
		c.t.Fatalf("heard %q, %v through a cut", got, err)
	}
}

func TestACutIsSilentAndLosesNothing(t *testing.T) {
	r := relayTo(t, echo(t))
	c := dial(t, r.address())
	c.say("before")
	c.hear("before")
	r.sever(func(net.Addr) bool { return true })
	c.say("held back")
	c.silent()
	late := dial(t, r.address()) // accepted, and leads nowhere
	late.say("new")
	late.silent()
	r.sever(nil)
	c.hear("held back")
	late.hear("new")
}

func TestACutConcernsOnlyItsCallers(t *testing.T) {
	r := relayTo(t, echo(t))
	cut, other := dial(t, r.address()), dial(t, r.address())
	for _, c := range []*caller{cut, other} {
		c.say("hello")
		c.hear("hello")
	}
	r.sever(func(a net.Addr) bool { return a.String() == cut.LocalAddr().String() })
	cut.say("nothing passes")
	other.say("passes")
	other.hear("passes")
	cut.silent()
}

// A process that has ended refuses connections, also behind its relay.
func TestAClosedRelayRefuses(t *testing.T) {
	r := relayTo(t, echo(t))
	c := dial(t, r.address())
	c.say("hello")
	c.hear("hello")
	r.sever(func(net.Addr) bool { return true })
	r.close()
	c.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := c.answers.ReadString('\n'); err == nil || os.IsTimeout(err) {
		t.Errorf("the connection is still open: %v", err)
	}
	if conn, err := net.Dial("tcp", r.address()); err == nil {
		conn.Close()
		t.Error("a closed relay accepts connections")
	}
}

func TestWhoOpenedAConnection(t *testing.T) {
	c := dial(t, echo(t))
	for _, tc := range []struct {
		name string
		pids []int
		want bool
	}{
		{"this process", []int{os.Getpid()}, true},
		{"another one", []int{os.Getppid()}, false},
		{"nobody", nil, false},
	} {
		o := &portOwners{candidates: tc.pids, known: map[int]bool{}}
		if got := o.own(c.LocalAddr()); got != tc.want {
			t.Errorf("%s: own = %t, want %t", tc.name, got, tc.want)
		}
	}
}

func TestStatOfAProcess(t *testing.T) {
	s, err := parseStat("4711 (a) b (c) S 17 4711 4711 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 9 0 123456 1000 20")
	if err != nil || s != (stat{state: "S", parent: 17, started: "123456"}) {
		t.Errorf("parseStat = %+v, %v", s, err)
	}
	if _, err := parseStat("4711 (a) S 17"); err == nil {
		t.Error("a short line was taken")
	}
	mine, err := children(os.Getppid())
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, pid := range mine {
		found = found || pid == os.Getpid()
	}
	if !found {
		t.Errorf("children of the parent are %v, without this process", mine)
	}
}
