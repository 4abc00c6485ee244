// Package id holds the typed identifiers that components exchange. It owns no state, starts no
// goroutine and imports nothing of the project; every value is comparable and safe to copy.
//
// Identifiers print as Flink prints them (32 lower-case hex digits for jobs, vertices and
// allocations) and travel as text, so that files, znodes and JSON stay readable.
package id

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"
)

// Job identifies a job for its whole life, across leaders and restarts. Flink's JobID.
type Job [16]byte

// NewJob returns a random job ID.
func NewJob() Job { return Job(random()) }

// ParseJob reads 32 hex digits in either case. The error says what was expected.
func ParseJob(s string) (Job, error) {
	b, err := parse(s)
	if err != nil {
		return Job{}, fmt.Errorf("cannot parse job ID from %q: the expected format is [0-9a-fA-F]{32}", s)
	}
	return Job(b), nil
}

// String returns 32 lower-case hex digits.
func (j Job) String() string { return hex.EncodeToString(j[:]) }

// IsZero reports whether j names no job.
func (j Job) IsZero() bool { return j == Job{} }

// MarshalText encodes j as String does.
func (j Job) MarshalText() ([]byte, error) { return []byte(j.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (j *Job) UnmarshalText(text []byte) (err error) {
	*j, err = ParseJob(string(text))
	return err
}

// Vertex identifies one chain of operators of a job graph. It is a function of the operators, so the
// same program has the same vertices on every run. Flink's JobVertexID.
type Vertex [16]byte

// ParseVertex reads 32 hex digits in either case.
func ParseVertex(s string) (Vertex, error) {
	b, err := parse(s)
	if err != nil {
		return Vertex{}, fmt.Errorf("cannot parse vertex ID from %q: the expected format is [0-9a-fA-F]{32}", s)
	}
	return Vertex(b), nil
}

// String returns 32 lower-case hex digits.
func (v Vertex) String() string { return hex.EncodeToString(v[:]) }

// MarshalText encodes v as String does.
func (v Vertex) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (v *Vertex) UnmarshalText(text []byte) (err error) {
	*v, err = ParseVertex(string(text))
	return err
}

// Allocation identifies one lease of one slot to one job. Flink's AllocationID.
type Allocation [16]byte

// NewAllocation returns a random allocation ID.
func NewAllocation() Allocation { return Allocation(random()) }

// ParseAllocation reads 32 hex digits in either case.
func ParseAllocation(s string) (Allocation, error) {
	b, err := parse(s)
	if err != nil {
		return Allocation{}, fmt.Errorf("cannot parse allocation ID from %q: the expected format is [0-9a-fA-F]{32}", s)
	}
	return Allocation(b), nil
}

// String returns 32 lower-case hex digits.
func (a Allocation) String() string { return hex.EncodeToString(a[:]) }

// IsZero reports whether a names no allocation.
func (a Allocation) IsZero() bool { return a == Allocation{} }

// MarshalText encodes a as String does.
func (a Allocation) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (a *Allocation) UnmarshalText(text []byte) (err error) {
	*a, err = ParseAllocation(string(text))
	return err
}

// TaskManager names a TaskManager process slot-provider: `taskmanager.resource-id` or host:port-6hex.
// Flink's ResourceID.
type TaskManager string

// Instance tells two processes with the same TaskManager name apart: a random ID drawn at each
// process start. Flink's TM session UUID.
type Instance [16]byte

// NewInstance returns a random instance ID.
func NewInstance() Instance { return Instance(random()) }

// String returns 32 lower-case hex digits.
func (i Instance) String() string { return hex.EncodeToString(i[:]) }

// MarshalText encodes i as String does.
func (i Instance) MarshalText() ([]byte, error) { return []byte(i.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (i *Instance) UnmarshalText(text []byte) error {
	b, err := parse(string(text))
	if err != nil {
		return fmt.Errorf("cannot parse instance ID from %q: the expected format is [0-9a-fA-F]{32}", text)
	}
	*i = Instance(b)
	return nil
}

// ExecutionAttempt identifies one attempt to run one subtask of a job: subtasks count from 0, attempts
// from 0 and rise by one with each restart of that subtask. Flink's ExecutionAttemptID.
type ExecutionAttempt struct {
	Vertex  Vertex `json:"vertex" cbor:"1,keyasint"`
	Subtask int    `json:"subtask" cbor:"2,keyasint"`
	Attempt int    `json:"attempt" cbor:"3,keyasint"`
}

// String returns <vertex>_<subtask>_<attempt>.
func (e ExecutionAttempt) String() string {
	return fmt.Sprintf("%s_%d_%d", e.Vertex, e.Subtask, e.Attempt)
}

func random() (b [16]byte) {
	// crypto/rand.Read never fails: it ends the process instead (Go 1.24).
	rand.Read(b[:])
	return b
}

func parse(s string) (b [16]byte, err error) {
	if len(s) != 32 {
		return b, fmt.Errorf("%d characters instead of 32", len(s))
	}
	_, err = hex.Decode(b[:], []byte(strings.ToLower(s)))
	return b, err
}
