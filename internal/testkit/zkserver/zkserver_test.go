package zkserver_test

import (
	"os"
	"testing"
	"time"

	"github.com/tamias-project/tamias/internal/testkit/zkserver"
)

func TestMain(m *testing.M) { os.Exit(zkserver.Run(m)) }

func TestServerKeepsItsAddressOverARestart(t *testing.T) {
	s := zkserver.Start(t)
	if got := s.Mode(); got != "standalone" {
		t.Fatalf("Mode = %q, want standalone", got)
	}
	address := s.Address()
	s.Kill()
	if got := s.Mode(); got != "" {
		t.Errorf("Mode of a killed server = %q", got)
	}
	s.Start(t)
	if got := s.Mode(); got != "standalone" || s.Address() != address {
		t.Errorf("after a restart: Mode = %q, Address = %s, want standalone at %s", got, s.Address(), address)
	}
}

func TestFrozenServerAcceptsAndIsSilent(t *testing.T) {
	s := zkserver.Shared(t)
	p := zkserver.NewProxy(t, s.Address())
	for _, tc := range []struct {
		name        string
		break_, fix func()
	}{
		{"freeze", s.Freeze, s.Thaw},
		{"proxy away", p.Cut, func() { p.Heal(t) }},
	} {
		tc.break_()
		if tc.name == "freeze" && s.Mode() != "" {
			t.Errorf("%s: the server answers", tc.name)
		}
		tc.fix()
		await(t, tc.name+": answer after the repair", func() bool { return s.Mode() == "standalone" })
	}
}

func TestEnsembleHasOneLeader(t *testing.T) {
	e := zkserver.StartEnsemble(t, 3)
	first := e.Leader()
	if first == nil {
		t.Fatal("no leader")
	}
	await(t, "two followers", func() bool {
		followers := 0
		for _, s := range e.Servers {
			if s.Mode() == "follower" {
				followers++
			}
		}
		return followers == 2
	})
}

func await(t *testing.T, what string, come func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !come(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for: %s", what)
		}
	}
}
