package protocol

import (
	"time"

	"github.com/tamias-project/tamias/pkg/id"
)

// DescribeLeadership asks the leading Dispatcher who leads now and who led before.
var DescribeLeadership = Call[Empty, Leadership]{"DescribeLeadership"}

// SuccessionReason says why the leader before left.
type SuccessionReason string

const (
	// FirstLeader: nobody led before.
	FirstLeader SuccessionReason = "first"
	// Resigned: it gave leadership up in order: its process was stopped, or the component failed.
	Resigned SuccessionReason = "resigned"
	// ProcessGone: its process ended without a word.
	ProcessGone SuccessionReason = "process-gone"
	// Silent: it did not answer for the probe timeout, and its successor evicted it.
	Silent SuccessionReason = "silent"
	// Shot: as Silent, where the backend is local: a frozen process keeps its lock until it is killed.
	Shot SuccessionReason = "shot"
	// SessionLost: the backend took leadership back because it had not heard the process for the session
	// timeout.
	SessionLost SuccessionReason = "session-lost"
	// Restarted: another process leads, and nothing tells how the one before ended (type NONE).
	Restarted SuccessionReason = "restarted"
	// UnknownReason: nothing tells.
	UnknownReason SuccessionReason = "unknown"
)

// LeaderProcess is a process that leads, or led.
type LeaderProcess struct {
	Process id.Instance `cbor:"1,keyasint" json:"process"`
	Host    string      `cbor:"2,keyasint" json:"host"`
	PID     int         `cbor:"3,keyasint" json:"pid"`
	// Address is host:port of its RPC service.
	Address string `cbor:"4,keyasint" json:"rpc-address"`
}

// LeaderTerm is one leadership of one component: who led, why the leader before had left, and when each
// step was reached. Times are of the leader's clock, zero for steps that were not reached, are not known,
// or do not exist for the component.
type LeaderTerm struct {
	// Component is resource_manager, dispatcher, rest_server or job_manager.
	Component string `cbor:"1,keyasint" json:"component"`
	// Job is set for job_manager only.
	Job id.Job `cbor:"2,keyasint" json:"job-id,omitzero"`
	// Epoch of the term; 0 in NONE mode.
	Epoch  uint64        `cbor:"3,keyasint" json:"epoch"`
	Leader LeaderProcess `cbor:"4,keyasint" json:"leader"`
	// Address is what the leader published: an RPC address, or the URL of a REST endpoint.
	Address string `cbor:"5,keyasint" json:"address,omitempty"`
	// Predecessor led before; nil if nobody did, or nobody knows who.
	Predecessor *LeaderProcess   `cbor:"6,keyasint,omitempty" json:"predecessor,omitempty"`
	Reason      SuccessionReason `cbor:"7,keyasint" json:"reason"`
	// LastHeard is when a predecessor that fell silent was heard last; zero for other reasons.
	LastHeard time.Time `cbor:"8,keyasint" json:"last-heard,omitzero"`
	// Detected is when this leader's process noticed that the predecessor had left, or, when nobody led, when
	// it began to contend.
	Detected time.Time `cbor:"9,keyasint" json:"detected"`
	// Won is when the epoch was raised: no earlier leader can write any more.
	Won time.Time `cbor:"10,keyasint" json:"won"`
	// StoresRead is when everything that earlier leaders had stored was known. Dispatcher and job_manager.
	StoresRead time.Time `cbor:"11,keyasint" json:"stores-read,omitzero"`
	// Confirmed is when the address was published: the leader can be found.
	Confirmed time.Time `cbor:"12,keyasint" json:"confirmed,omitzero"`
	// Adopted is when the fate of all tasks was known that the predecessor had deployed, for a dispatcher: those
	// of all jobs. Dispatcher and job_manager.
	Adopted time.Time `cbor:"13,keyasint" json:"adopted,omitzero"`
	// Tasks are those that had not finished by then, AdoptedTasks those of them that run on.
	Tasks        int `cbor:"14,keyasint" json:"tasks,omitempty"`
	AdoptedTasks int `cbor:"15,keyasint" json:"adopted-tasks,omitempty"`
	// Ended is when the term ended, as far as known.
	Ended time.Time `cbor:"16,keyasint" json:"ended,omitzero"`
}

// Gone is when nobody led any more: the last sign of life of a predecessor that fell silent, else the
// moment when its end was noticed.
func (t LeaderTerm) Gone() time.Time {
	if !t.LastHeard.IsZero() {
		return t.LastHeard
	}
	return t.Detected
}

// SameTerm reports whether t and other are about the same leadership.
func (t LeaderTerm) SameTerm(other LeaderTerm) bool {
	return t.Component == other.Component && t.Job == other.Job && t.Epoch == other.Epoch && t.Leader.Process == other.Leader.Process
}

// LeadershipTotals count since the cluster began, over all leaders.
type LeadershipTotals struct {
	// Changes counts by component how often leadership passed on.
	Changes map[string]int64 `cbor:"1,keyasint" json:"changes"`
	// Leaderless is by component the time between the loss of a leader and the next one's confirmation.
	Leaderless map[string]time.Duration `cbor:"2,keyasint" json:"leaderless-ns"`
	// Adoptions counts the JobMasters that took over a job with tasks; AdoptedTasks those of the tasks that ran
	// on, LostTasks those that did not.
	Adoptions    int64 `cbor:"3,keyasint" json:"adoptions"`
	AdoptedTasks int64 `cbor:"4,keyasint" json:"adopted-tasks"`
	LostTasks    int64 `cbor:"5,keyasint" json:"lost-tasks"`
}

// LeadershipHistory is what the Dispatcher keeps of the leaders of the cluster.
type LeadershipHistory struct {
	// Terms are newest first.
	Terms  []LeaderTerm     `cbor:"1,keyasint" json:"terms"`
	Totals LeadershipTotals `cbor:"2,keyasint" json:"totals"`
}

// Leadership is the answer to DescribeLeadership.
type Leadership struct {
	// Leaders are the present ones: those of the cluster, then those of jobs.
	Leaders []LeaderTerm      `cbor:"1,keyasint"`
	History LeadershipHistory `cbor:"2,keyasint"`
}
