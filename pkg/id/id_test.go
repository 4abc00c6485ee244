package id_test

import (
	"encoding/json"
	"testing"

	"pgregory.net/rapid"

	"github.com/tamias-project/tamias/pkg/id"
)

func TestTokensAreOrderedByEpoch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		epoch := rapid.Uint64Range(1, id.MaxEpoch).Draw(t, "epoch")
		token := id.NewFencingToken(epoch)
		if got := token.Epoch(); got != epoch {
			t.Fatalf("Epoch = %d, want %d", got, epoch)
		}
		if s := token.String(); s[14] != '8' {
			t.Fatalf("%s is not a version 8 UUID", s)
		}
		back, err := id.ParseFencingToken(token.String())
		if err != nil || back != token {
			t.Fatalf("ParseFencingToken(%s) = %s, %v", token, back, err)
		}
	})
	if a, b := id.NewFencingToken(1), id.NewFencingToken(1); a == b {
		t.Error("two sessions of one epoch have the same token")
	}
}

func TestZeroTokenIsTheDefaultLeaderID(t *testing.T) {
	var none id.FencingToken
	if got, want := none.String(), "00000000-0000-0000-0000-000000000000"; got != want {
		t.Errorf("String = %s, want %s", got, want)
	}
	if none.Epoch() != 0 || !none.IsZero() {
		t.Errorf("zero token has epoch %d", none.Epoch())
	}
}

func TestEpochOutOfRangePanics(t *testing.T) {
	for _, epoch := range []uint64{0, id.MaxEpoch + 1} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("NewFencingToken(%d) did not panic", epoch)
				}
			}()
			id.NewFencingToken(epoch)
		}()
	}
}

func TestParseJob(t *testing.T) {
	for _, tc := range []struct {
		in, want string
		ok       bool
	}{
		{"0123456789abcdef0123456789abcdef", "0123456789abcdef0123456789abcdef", true},
		{"0123456789ABCDEF0123456789ABCDEF", "0123456789abcdef0123456789abcdef", true},
		{"123", "", false},
		{"0123456789abcdef0123456789abcdeg", "", false},
		{"", "", false},
	} {
		got, err := id.ParseJob(tc.in)
		if (err == nil) != tc.ok || err == nil && got.String() != tc.want {
			t.Errorf("ParseJob(%q) = %s, %v", tc.in, got, err)
		}
	}
}

func TestIdentifiersTravelAsText(t *testing.T) {
	type all struct {
		Job        id.Job
		Vertex     id.Vertex
		Allocation id.Allocation
		Instance   id.Instance
		Token      id.FencingToken
		Attempt    id.ExecutionAttempt
	}
	in := all{Job: id.NewJob(), Vertex: id.Vertex{1, 2}, Allocation: id.NewAllocation(), Instance: id.NewInstance(), Token: id.NewFencingToken(9),
		Attempt: id.ExecutionAttempt{Vertex: id.Vertex{1, 2}, Subtask: 3, Attempt: 4}}
	text, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	var out all
	if err := json.Unmarshal(text, &out); err != nil || out != in {
		t.Errorf("%s\ncame back as %+v, %v", text, out, err)
	}
	if got, want := in.Attempt.String(), "01020000000000000000000000000000_3_4"; got != want {
		t.Errorf("Attempt = %s, want %s", got, want)
	}
}
