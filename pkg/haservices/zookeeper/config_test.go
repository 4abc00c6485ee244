package zookeeper

import (
	"bytes"
	"encoding/binary"
	"io"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestRoot(t *testing.T) {
	for _, tc := range []struct{ root, cluster, want string }{
		{"/flink", "/default", "/flink/default"},
		{"/flink", "default", "/flink/default"},
		{"flink/", "//prod//eu/", "/flink/prod/eu"},
		{"", "/default", "/default"},
	} {
		if got := Root(tc.root, tc.cluster); got != tc.want {
			t.Errorf("Root(%q, %q) = %s, want %s", tc.root, tc.cluster, got, tc.want)
		}
	}
}

func TestNewChecksItsConfig(t *testing.T) {
	for _, tc := range []struct {
		name  string
		cfg   Config
		wrong string // "" for none
	}{
		{"as in the sample", Config{Quorum: "node1:2181,node2:2181,node3:2181", Root: "/flink/default"}, ""},
		{"no server", Config{Quorum: " , ", Root: "/flink/default"}, "quorum"},
		{"no root", Config{Quorum: "zk", Root: "/"}, "path.root"},
		{"wrong ACL", Config{Quorum: "zk", Root: "/a", ACL: "closed"}, "client.acl"},
		{"nobody is the creator", Config{Quorum: "zk", Root: "/a", ACL: "creator"}, "client.authorization"},
	} {
		_, err := New(tc.cfg)
		if (err == nil) != (tc.wrong == "") || err != nil && !strings.Contains(err.Error(), tc.wrong) {
			t.Errorf("%s: New = %v, want an error about %q", tc.name, err, tc.wrong)
		}
	}
}

func TestServers(t *testing.T) {
	got := Config{Quorum: "a:1, b , [::1]:3,[::2],a:1,"}.servers()
	if want := []string{"a:1", "b:2181", "[::1]:3", "[::2]:2181"}; !slices.Equal(got, want) {
		t.Errorf("servers = %q, want %q", got, want)
	}
}

// TestLineIsSortedBySequence: by name the GUIDs would decide.
func TestLineIsSortedBySequence(t *testing.T) {
	var got []string
	for _, p := range line([]string{"_c_b-latch-0000000002", "lock", "_c_a-latch-0000000010", "_c_c-latch-0000000001", "_c_d-latch-x"}) {
		got = append(got, p.name)
	}
	if want := []string{"_c_c-latch-0000000001", "_c_b-latch-0000000002", "_c_a-latch-0000000010"}; !slices.Equal(got, want) {
		t.Errorf("line = %q, want %q", got, want)
	}
}

// TestPacketReader: however the bytes arrive, the beginning of every packet is seen once.
func TestPacketReader(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var stream []byte
		var want, got [][]byte
		for _, body := range rapid.SliceOf(rapid.SliceOfN(rapid.Byte(), headSize, 3*headSize)).Draw(t, "packets") {
			stream = append(binary.BigEndian.AppendUint32(stream, uint32(len(body))), body...)
			want = append(want, body[:headSize])
		}
		var p packetReader
		for r := bytes.NewReader(stream); r.Len() > 0; {
			chunk := make([]byte, rapid.IntRange(1, 40).Draw(t, "chunk"))
			n, err := r.Read(chunk)
			if err != nil && err != io.EOF {
				t.Fatal(err)
			}
			p.feed(chunk[:n], func(head []byte) { got = append(got, bytes.Clone(head)) })
		}
		if !slices.EqualFunc(got, want, bytes.Equal) {
			t.Fatalf("saw %x, want %x", got, want)
		}
	})
}
