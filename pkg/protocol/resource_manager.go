package protocol

import (
	"time"

	"github.com/tamias-project/tamias/pkg/id"
)

// Calls to the leading ResourceManager.
var (
	RegisterTaskManager   = Call[RegisterTaskManagerRequest, RegisteredTaskManager]{"RegisterTaskManager"}
	ReportSlots           = Call[SlotReport, Empty]{"ReportSlots"}
	DisconnectTaskManager = Call[DisconnectTaskManagerRequest, Empty]{"DisconnectTaskManager"}
	RegisterJobMaster     = Call[RegisterJobMasterRequest, RegisteredJobMaster]{"RegisterJobMaster"}
	DeclareRequirements   = Call[DeclareRequirementsRequest, Empty]{"DeclareRequirements"}
	DisconnectJobMaster   = Call[DisconnectJobMasterRequest, Empty]{"DisconnectJobMaster"}
	ListTaskManagers      = Call[Empty, TaskManagerList]{"ListTaskManagers"}
)

// Slot is one slot of a TaskManager as the TaskManager sees it.
type Slot struct {
	// Index counts from 0.
	Index int `cbor:"1,keyasint" json:"index"`
	// Allocation and Job are zero when the slot is free.
	Allocation id.Allocation `cbor:"2,keyasint" json:"allocation"`
	Job        id.Job        `cbor:"3,keyasint" json:"job"`
}

// RegisterTaskManagerRequest announces a TaskManager and all its slots. It is sent again after every
// leader change and every lost connection; a registration with another Instance replaces the first.
type RegisterTaskManagerRequest struct {
	ID id.TaskManager `cbor:"1,keyasint"`
	// Instance is the process's (rpc.Transport.Process), so that leaders can watch for its end.
	Instance id.Instance `cbor:"2,keyasint"`
	// Address is the TaskManager's RPC address (tamias://host:port/task_manager).
	Address string   `cbor:"3,keyasint"`
	Slots   []Slot   `cbor:"4,keyasint"`
	Host    HostInfo `cbor:"5,keyasint"`
	// Version of Slots, as in SlotReport.
	Version int64 `cbor:"6,keyasint"`
}

// HostInfo describes a TaskManager's process and machine to users.
type HostInfo struct {
	PID int `cbor:"1,keyasint" json:"pid"`
	// CPUs and Memory (bytes) of the machine.
	CPUs   int   `cbor:"2,keyasint" json:"cpus"`
	Memory int64 `cbor:"3,keyasint" json:"memory"`
	// DataPort is 0: data ports belong to job processes.
	DataPort int `cbor:"4,keyasint" json:"data-port"`
}

// RegisteredTaskManager accepts a TaskManager.
type RegisteredTaskManager struct {
	HeartbeatInterval time.Duration `cbor:"1,keyasint"`
	HeartbeatTimeout  time.Duration `cbor:"2,keyasint"`
	// Process is the answering process's (rpc.Transport.Process), so that its end can be watched for.
	Process id.Instance `cbor:"3,keyasint"`
}

// SlotReport tells what became of a TaskManager's slots, at once instead of with the next heartbeat.
type SlotReport struct {
	ID       id.TaskManager `cbor:"1,keyasint"`
	Instance id.Instance    `cbor:"2,keyasint"`
	Slots    []Slot         `cbor:"3,keyasint"`
	// Version rises with every change of the slots of one Instance: of two reports the higher is the truth,
	// whichever arrived last.
	Version int64 `cbor:"4,keyasint"`
}

// DisconnectTaskManagerRequest is a TaskManager's farewell on a clean stop.
type DisconnectTaskManagerRequest struct {
	ID       id.TaskManager `cbor:"1,keyasint"`
	Instance id.Instance    `cbor:"2,keyasint"`
	Reason   string         `cbor:"3,keyasint"`
}

// RegisterJobMasterRequest announces the JobMaster of a job; a higher epoch replaces a lower one, a
// lower one is refused with rpc.ErrFenced.
type RegisterJobMasterRequest struct {
	Job     id.Job          `cbor:"1,keyasint"`
	Token   id.FencingToken `cbor:"2,keyasint"`
	Address string          `cbor:"3,keyasint"`
}

// RegisteredJobMaster accepts a JobMaster.
type RegisteredJobMaster struct {
	HeartbeatInterval time.Duration `cbor:"1,keyasint"`
	HeartbeatTimeout  time.Duration `cbor:"2,keyasint"`
}

// DeclareRequirementsRequest is the whole set of slots that a job needs, those it has included; it
// replaces the last declaration. JobMasters repeat it as their heartbeat.
type DeclareRequirementsRequest struct {
	Job   id.Job          `cbor:"1,keyasint"`
	Token id.FencingToken `cbor:"2,keyasint"`
	Slots int             `cbor:"3,keyasint"`
	// Held are the allocations that the JobMaster uses now: the ResourceManager counts them as given.
	Held []id.Allocation `cbor:"4,keyasint"`
}

// DisconnectJobMasterRequest ends a job at the ResourceManager: it reached a terminal state.
type DisconnectJobMasterRequest struct {
	Job   id.Job          `cbor:"1,keyasint"`
	Token id.FencingToken `cbor:"2,keyasint"`
}

// TaskManagerList is what the ResourceManager knows, for users.
type TaskManagerList struct {
	TaskManagers []TaskManagerInfo `cbor:"1,keyasint"`
	// Requirements that are not met: job and missing slots.
	Missing []MissingSlots `cbor:"2,keyasint"`
}

// TaskManagerInfo describes one registered TaskManager.
type TaskManagerInfo struct {
	ID            id.TaskManager `cbor:"1,keyasint"`
	Address       string         `cbor:"2,keyasint"`
	Slots         []Slot         `cbor:"3,keyasint"`
	Host          HostInfo       `cbor:"4,keyasint"`
	LastHeartbeat time.Time      `cbor:"5,keyasint"`
}

// MissingSlots says that a job waits for slots.
type MissingSlots struct {
	Job    id.Job `cbor:"1,keyasint"`
	Slots  int    `cbor:"2,keyasint"`
	Needed int    `cbor:"3,keyasint"`
}
