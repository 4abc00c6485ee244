package rpc_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
	"github.com/tamias-project/tamias/pkg/rpc/rpctest"
)

// TestVersionsOfNeighboursOverlap: an upgrade rolls in both directions, and who is too old is told so.
func TestVersionsOfNeighboursOverlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		n := rpctest.NewNetwork(rpctest.Faults{})
		token := id.NewFencingToken(1)
		leader(t, ctx, n.Node("a:1"), token)
		synctest.Wait()
		payload, err := rpc.Marshal(protocol.CancelJobRequest{Job: id.NewJob()})
		if err != nil {
			t.Fatal(err)
		}
		for _, tc := range []struct {
			name            string
			version, oldest int
			method          string
			refusal         string // "" for none
		}{
			{"this build", protocol.Version, protocol.MinVersion, "CancelJob", ""},
			{"a newer build that works with this one", protocol.Version + 1, protocol.Version, "CancelJob", ""},
			{"a much newer build that works with this one", protocol.Version + 7, protocol.MinVersion, "CancelJob", ""},
			{"a build from before requests said what they need", protocol.Version, 0, "CancelJob", ""},
			{"a newer build that does not", protocol.Version + 1, protocol.Version + 1, "CancelJob", "the process at this address is too old"},
			{"a build that is too old", protocol.MinVersion - 1, protocol.MinVersion - 1, "CancelJob", "the sender is too old"},
			{"a call of a newer build", protocol.Version + 1, protocol.Version, "PauseJob", "the process at this address is too old"},
		} {
			answer, err := n.Node("b:1").Call(ctx, "a:1", &rpc.Request{
				Version: tc.version, MinVersion: tc.oldest, Endpoint: protocol.DispatcherEndpoint, Method: tc.method, Token: token, Payload: payload,
			})
			switch {
			case err != nil:
				t.Errorf("%s: %v", tc.name, err)
			case tc.refusal == "" && answer.Code != "":
				t.Errorf("%s: refused: %s", tc.name, answer.Message)
			case tc.refusal != "" && (answer.Code != "version" || !strings.Contains(answer.Message, tc.refusal) || !strings.Contains(answer.Message, "upgrade")):
				t.Errorf("%s: answer %q %q, want %q and what to do", tc.name, answer.Code, answer.Message, tc.refusal)
			}
		}
	})
}

// pauseJob is a call whose request not every receiver understands.
var pauseJob = protocol.Call[pauseJobRequest, protocol.Empty]{Method: "CancelJob"}

type pauseJobRequest struct {
	Job    id.Job `cbor:"1,keyasint"`
	Gently bool   `cbor:"2,keyasint,omitempty"`
}

func (r pauseJobRequest) OldestReceiver() int {
	if r.Gently {
		return protocol.Version + 1
	}
	return protocol.Version
}

// TestARequestMayDemandANewerReceiver: it is refused rather than half understood.
func TestARequestMayDemandANewerReceiver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		n := rpctest.NewNetwork(rpctest.Faults{})
		token := id.NewFencingToken(1)
		leader(t, ctx, n.Node("a:1"), token)
		synctest.Wait()
		g := rpc.NewGateway(n.Node("b:1"), rpc.Address{HostPort: "a:1", Endpoint: protocol.DispatcherEndpoint}, token)
		if _, err := rpc.Invoke(ctx, g, pauseJob, pauseJobRequest{Job: id.NewJob()}); err != nil {
			t.Errorf("a request that an old receiver understands: %v", err)
		}
		_, err := rpc.Invoke(ctx, g, pauseJob, pauseJobRequest{Job: id.NewJob(), Gently: true})
		if !errors.Is(err, rpc.ErrVersion) || !strings.Contains(err.Error(), "tamias://a:1/dispatcher") {
			t.Errorf("a request that an old receiver does not understand: %v, want ErrVersion and the address of the old process", err)
		}
	})
}

// executionOfANewerBuild is protocol.Execution with what a later version may add.
type executionOfANewerBuild struct {
	protocol.Execution
	Region  string         `cbor:"100,keyasint"`
	Details map[string]any `cbor:"101,keyasint"`
}

type reportOfANewerBuild struct {
	Job         id.Job                   `cbor:"1,keyasint"`
	TaskManager id.TaskManager           `cbor:"2,keyasint"`
	Executions  []executionOfANewerBuild `cbor:"4,keyasint"`
	Reason      []string                 `cbor:"100,keyasint"`
}

// TestFieldsOfNewerBuildsAreIgnored: at the top of a message, inside lists, and in the frame itself.
func TestFieldsOfNewerBuildsAreIgnored(t *testing.T) {
	attempt := id.ExecutionAttempt{Vertex: id.Vertex{1}, Subtask: 2, Attempt: 3}
	sent := reportOfANewerBuild{
		Job: id.NewJob(), TaskManager: "tm-1", Reason: []string{"because"},
		Executions: []executionOfANewerBuild{{
			Execution: protocol.Execution{Attempt: attempt, State: protocol.Running},
			Region:    "eu", Details: map[string]any{"a": []any{1, "b"}},
		}},
	}
	var got protocol.TaskStateChangedRequest
	decode(t, sent, &got)
	if got.Job != sent.Job || got.TaskManager != "tm-1" || len(got.Executions) != 1 ||
		got.Executions[0].Attempt != attempt || got.Executions[0].State != protocol.Running {
		t.Errorf("an older build reads %+v", got)
	}
	// And back: what an older build sends lacks the fields, which are zero then.
	var back reportOfANewerBuild
	decode(t, got, &back)
	if back.Job != sent.Job || len(back.Executions) != 1 || back.Executions[0].Attempt != attempt || back.Reason != nil {
		t.Errorf("a newer build reads %+v", back)
	}

	type frame struct {
		rpc.Request
		Trace map[string]string `cbor:"100,keyasint"`
	}
	var r rpc.Request
	decode(t, frame{Request: rpc.Request{Version: 2, MinVersion: 1, Method: "CancelJob"}, Trace: map[string]string{"a": "b"}}, &r)
	if r.Version != 2 || r.MinVersion != 1 || r.Method != "CancelJob" {
		t.Errorf("an older build reads the frame %+v", r)
	}
}

func decode(t *testing.T, from, to any) {
	t.Helper()
	data, err := rpc.Marshal(from)
	if err == nil {
		err = rpc.Unmarshal(data, to)
	}
	if err != nil {
		t.Errorf("%T as %T: %v", from, to, err)
	}
}
