package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// ticks of /proc times in one second, on every Linux that Go runs on.
const ticks = 100

// cpuSeconds is user and system time of a living process.
func cpuSeconds(pid int) float64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 13 {
		return 0
	}
	return sum(fields[11:13]) / ticks
}

// busySeconds is the time that all processors of the machine were not idle.
func busySeconds() float64 {
	text, _ := os.ReadFile("/proc/stat")
	line, _, _ := strings.Cut(string(text), "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 {
		return 0
	}
	return (sum(fields[1:4]) + sum(fields[6:9])) / ticks
}

func sum(fields []string) (sum float64) {
	for _, f := range fields {
		n, _ := strconv.ParseFloat(f, 64)
		sum += n
	}
	return sum
}

// resident is the memory, in bytes, that a process has in RAM.
func resident(pid int) float64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0
	}
	return sum(fields[1:2]) * float64(os.Getpagesize())
}

// peakMemory is the most memory, in bytes, that a process ever had in RAM.
func peakMemory(pid int) float64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(text)) {
		if peak, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			return sum(strings.Fields(peak)[:1]) * 1024
		}
	}
	return 0
}

// openFiles counts a process's file descriptors.
func openFiles(pid int) int {
	entries, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	return len(entries)
}

// load is CPU time, in seconds: of the leading JobManager, of all fleets, and of everything else on this
// machine.
type load struct{ jobManager, fleets, others float64 }

// meter measures load from now on, of the JobManager with that pid.
func (t *testbed) meter(pid int) func() load {
	now := func() load {
		l := load{jobManager: cpuSeconds(pid)}
		for _, f := range t.fleets {
			l.fleets += cpuSeconds(f.cmd.Process.Pid)
		}
		l.others = busySeconds() - l.jobManager - l.fleets
		return l
	}
	before := now()
	return func() load {
		after := now()
		return load{after.jobManager - before.jobManager, after.fleets - before.fleets, after.others - before.others}
	}
}
