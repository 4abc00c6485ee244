package metrics

import (
	"context"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	runtimemetrics "runtime/metrics"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Process is the source of a process's own figures under the names that Flink has for its JVM: heap, garbage
// collector, CPU, threads (here goroutines) and file descriptors. scope is JobManager or TaskManager.
func Process(scope Scope, labels ...string) Source {
	load := &cpuLoad{at: time.Now(), used: cpuTime()}
	return func(_ context.Context, to *Sheet) {
		figures := to.Of(scope, labels...)
		memory(figures)
		collections(figures)
		used := cpuTime()
		figures.Set("Status_JVM_CPU_Time", float64(used.Nanoseconds()))
		figures.Set("Status_JVM_CPU_Load", load.since(time.Now(), used))
		figures.Set("Status_JVM_Threads_Count", float64(runtime.NumGoroutine()))
		if open, err := os.ReadDir("/proc/self/fd"); err == nil {
			figures.Set("Status_JVM_FileDescriptor_Open", float64(len(open)))
		}
		var limit unix.Rlimit
		if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) == nil {
			figures.Set("Status_JVM_FileDescriptor_Max", float64(limit.Cur))
		}
	}
}

// Names of the Go runtime's metrics.
const (
	heapObjects  = "/memory/classes/heap/objects:bytes"
	heapUnused   = "/memory/classes/heap/unused:bytes"
	heapFree     = "/memory/classes/heap/free:bytes"
	heapReleased = "/memory/classes/heap/released:bytes"
	allMemory    = "/memory/classes/total:bytes"
)

func memory(figures Figures) {
	names := []string{heapObjects, heapUnused, heapFree, heapReleased, allMemory}
	samples := make([]runtimemetrics.Sample, len(names))
	for i, name := range names {
		samples[i].Name = name
	}
	runtimemetrics.Read(samples)
	bytes := map[string]float64{}
	for _, s := range samples {
		if s.Value.Kind() == runtimemetrics.KindUint64 {
			bytes[s.Name] = float64(s.Value.Uint64())
		}
	}
	committed := bytes[heapObjects] + bytes[heapUnused] + bytes[heapFree]
	limit := -1.0 // as a JVM says that there is none
	if max := debug.SetMemoryLimit(-1); max < math.MaxInt64 {
		limit = float64(max)
	}
	figures.Set("Status_JVM_Memory_Heap_Used", bytes[heapObjects])
	figures.Set("Status_JVM_Memory_Heap_Committed", committed)
	figures.Set("Status_JVM_Memory_Heap_Max", limit)
	figures.Set("Status_JVM_Memory_NonHeap_Used", bytes[allMemory]-committed-bytes[heapReleased])
}

func collections(figures Figures) {
	var gc debug.GCStats
	debug.ReadGCStats(&gc)
	figures.Set("Status_JVM_GarbageCollector_All_Count", float64(gc.NumGC))
	figures.Set("Status_JVM_GarbageCollector_All_Time", float64(gc.PauseTotal.Milliseconds()))
}

// cpuTime is what this process has used of all CPUs.
func cpuTime() time.Duration {
	var usage unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &usage) != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// cpuLoad is the share of the machine's CPUs that was used between two scrapes.
type cpuLoad struct {
	mu   sync.Mutex // guards all below
	at   time.Time
	used time.Duration
	last float64
}

// since returns 0 to 1. Scrapes that follow each other within a second get the same answer.
func (c *cpuLoad) since(now time.Time, used time.Duration) float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if elapsed := now.Sub(c.at); elapsed >= time.Second {
		c.last = min(1, (used-c.used).Seconds()/elapsed.Seconds()/float64(runtime.NumCPU()))
		c.at, c.used = now, used
	}
	return c.last
}
