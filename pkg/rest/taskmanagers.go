package rest

import (
	"net/http"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
)

type taskManagerList struct {
	TaskManagers []taskManagerLine `json:"taskmanagers"`
}

type taskManagerLine struct {
	ID            id.TaskManager      `json:"id"`
	Path          string              `json:"path"`
	DataPort      int                 `json:"dataPort"`
	JMXPort       int                 `json:"jmxPort"`
	LastHeartbeat int64               `json:"timeSinceLastHeartbeat"` // a time in spite of its name
	SlotsNumber   int                 `json:"slotsNumber"`
	FreeSlots     int                 `json:"freeSlots"`
	AssignedTasks int                 `json:"assignedTasks"`
	TotalResource resourceProfile     `json:"totalResource"`
	FreeResource  resourceProfile     `json:"freeResource"`
	Hardware      hardware            `json:"hardware"`
	Memory        memoryConfiguration `json:"memoryConfiguration"`
}

// resourceProfile has memory in MiB.
type resourceProfile struct {
	CPUCores          float64            `json:"cpuCores"`
	TaskHeapMemory    int                `json:"taskHeapMemory"`
	TaskOffHeapMemory int                `json:"taskOffHeapMemory"`
	ManagedMemory     int                `json:"managedMemory"`
	NetworkMemory     int                `json:"networkMemory"`
	ExtendedResources map[string]float64 `json:"extendedResources"`
}

// hardware has memory in bytes.
type hardware struct {
	CPUCores       int   `json:"cpuCores"`
	PhysicalMemory int64 `json:"physicalMemory"`
	FreeMemory     int64 `json:"freeMemory"`
	ManagedMemory  int64 `json:"managedMemory"`
}

// memoryConfiguration is all 0: there are no memory pools of fixed size here.
type memoryConfiguration struct {
	FrameworkHeap      int64 `json:"frameworkHeap"`
	TaskHeap           int64 `json:"taskHeap"`
	FrameworkOffHeap   int64 `json:"frameworkOffHeap"`
	TaskOffHeap        int64 `json:"taskOffHeap"`
	NetworkMemory      int64 `json:"networkMemory"`
	ManagedMemory      int64 `json:"managedMemory"`
	JVMMetaspace       int64 `json:"jvmMetaspace"`
	JVMOverhead        int64 `json:"jvmOverhead"`
	TotalFlinkMemory   int64 `json:"totalFlinkMemory"`
	TotalProcessMemory int64 `json:"totalProcessMemory"`
}

type taskManagerDetails struct {
	taskManagerLine
	AllocatedSlots []slotLine         `json:"allocatedSlots"`
	Metrics        taskManagerMetrics `json:"metrics"`
}

type slotLine struct {
	JobID         id.Job          `json:"jobId"`
	Resource      resourceProfile `json:"resource"`
	AssignedTasks int             `json:"assignedTasks"`
}

// taskManagerMetrics describe a JVM; they are here because Java clients need every number.
type taskManagerMetrics struct {
	HeapUsed           int64      `json:"heapUsed"`
	HeapCommitted      int64      `json:"heapCommitted"`
	HeapMax            int64      `json:"heapMax"`
	NonHeapUsed        int64      `json:"nonHeapUsed"`
	NonHeapCommitted   int64      `json:"nonHeapCommitted"`
	NonHeapMax         int64      `json:"nonHeapMax"`
	DirectCount        int64      `json:"directCount"`
	DirectUsed         int64      `json:"directUsed"`
	DirectMax          int64      `json:"directMax"`
	MappedCount        int64      `json:"mappedCount"`
	MappedUsed         int64      `json:"mappedUsed"`
	MappedMax          int64      `json:"mappedMax"`
	SegmentsAvailable  int64      `json:"nettyShuffleMemorySegmentsAvailable"`
	SegmentsUsed       int64      `json:"nettyShuffleMemorySegmentsUsed"`
	SegmentsTotal      int64      `json:"nettyShuffleMemorySegmentsTotal"`
	ShuffleMemoryFree  int64      `json:"nettyShuffleMemoryAvailable"`
	ShuffleMemoryUsed  int64      `json:"nettyShuffleMemoryUsed"`
	ShuffleMemoryTotal int64      `json:"nettyShuffleMemoryTotal"`
	GarbageCollectors  []struct{} `json:"garbageCollectors"`
}

func (s *Server) taskManagers(r *http.Request) (taskManagerList, error) {
	list, err := ask(r.Context(), s.resourceManager, protocol.ListTaskManagers, protocol.Empty{})
	answer := taskManagerList{TaskManagers: []taskManagerLine{}}
	for _, tm := range list.TaskManagers {
		answer.TaskManagers = append(answer.TaskManagers, taskManagerLineOf(tm))
	}
	return answer, err
}

func (s *Server) taskManager(r *http.Request) (taskManagerDetails, error) {
	wanted := id.TaskManager(r.PathValue("taskmanagerid"))
	list, err := ask(r.Context(), s.resourceManager, protocol.ListTaskManagers, protocol.Empty{})
	if err != nil {
		return taskManagerDetails{}, err
	}
	for _, tm := range list.TaskManagers {
		if tm.ID != wanted {
			continue
		}
		answer := taskManagerDetails{taskManagerLine: taskManagerLineOf(tm), AllocatedSlots: []slotLine{}}
		answer.Metrics.GarbageCollectors = []struct{}{}
		for _, slot := range tm.Slots {
			if !slot.Job.IsZero() {
				answer.AllocatedSlots = append(answer.AllocatedSlots, slotLine{JobID: slot.Job, Resource: share(tm, 1)})
			}
		}
		return answer, nil
	}
	return taskManagerDetails{}, notFound("TaskManager %s is not registered", wanted)
}

func taskManagerLineOf(tm protocol.TaskManagerInfo) taskManagerLine {
	free := freeSlots(tm.Slots)
	return taskManagerLine{
		ID: tm.ID, Path: tm.Address, DataPort: tm.Host.DataPort, JMXPort: -1, LastHeartbeat: millis(tm.LastHeartbeat),
		SlotsNumber: len(tm.Slots), FreeSlots: free,
		TotalResource: share(tm, len(tm.Slots)), FreeResource: share(tm, free),
		Hardware: hardware{CPUCores: tm.Host.CPUs, PhysicalMemory: tm.Host.Memory},
	}
}

func freeSlots(slots []protocol.Slot) (free int) {
	for _, slot := range slots {
		if slot.Allocation.IsZero() {
			free++
		}
	}
	return free
}

// share is the machine's part that so many slots stand for.
func share(tm protocol.TaskManagerInfo, slots int) resourceProfile {
	total := max(1, len(tm.Slots))
	return resourceProfile{
		CPUCores:          float64(tm.Host.CPUs) * float64(slots) / float64(total),
		TaskHeapMemory:    int(tm.Host.Memory >> 20 * int64(slots) / int64(total)),
		ExtendedResources: map[string]float64{},
	}
}
