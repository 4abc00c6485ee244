package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ticks of /proc times in one second, on every Linux that Go runs on.
const ticks = 100

// watch samples the processes of a cluster while a job runs. Job processes are children of a TaskManager:
// their CPU time is the TaskManager's own children's once they have been reaped, so only peaks of memory
// need sampling.
type watch struct {
	pids      []int
	cpu, busy float64
	quit      chan struct{}
	peak      chan int64
}

func startWatch(pids []int) *watch {
	w := &watch{pids: pids, cpu: cpuSeconds(pids), busy: busySeconds(), quit: make(chan struct{}), peak: make(chan int64)}
	go func() {
		var peak int64
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			peak = max(peak, memory(pids))
			select {
			case <-w.quit:
				w.peak <- peak
				return
			case <-tick.C:
			}
		}
	}()
	return w
}

// stop ends the watch; client is the submitting process, which belongs to nobody's figures.
func (w *watch) stop(client *os.ProcessState) run {
	close(w.quit)
	r := run{RSS: <-w.peak / (1 << 20), CPU: cpuSeconds(w.pids) - w.cpu}
	r.Other = busySeconds() - w.busy - r.CPU
	if client != nil {
		r.Other -= (client.UserTime() + client.SystemTime()).Seconds()
	}
	return r
}

// cpuSeconds is user and system time of the processes, their living children and their reaped children.
func cpuSeconds(pids []int) float64 {
	var sum float64
	for _, pid := range pids {
		sum += times(pid, true)
		for _, child := range children(pid) {
			sum += times(child, true)
		}
	}
	return sum
}

func times(pid int, reaped bool) float64 {
	f := stat(pid)
	if len(f) < 15 {
		return 0
	}
	sum := number(f[11]) + number(f[12])
	if reaped {
		sum += number(f[13]) + number(f[14])
	}
	return float64(sum) / ticks
}

// stat returns the fields of /proc/<pid>/stat behind the command's name; nil when there is no process.
func stat(pid int) []string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	return strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
}

func children(pid int) []int {
	var all []int
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, file := range files {
		text, _ := os.ReadFile(file) // a thread that has ended has no children
		for _, f := range strings.Fields(string(text)) {
			all = append(all, int(number(f)))
		}
	}
	return all
}

// memory is the resident memory, in bytes, of the processes and their children now.
func memory(pids []int) int64 {
	var sum int64
	for _, pid := range pids {
		sum += resident(pid)
		for _, child := range children(pid) {
			sum += resident(child)
		}
	}
	return sum
}

func resident(pid int) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if f := strings.Fields(string(text)); err == nil && len(f) > 1 {
		return number(f[1]) * int64(os.Getpagesize())
	}
	return 0
}

// busySeconds is the time that all processors of the machine were not idle.
func busySeconds() float64 {
	text, _ := os.ReadFile("/proc/stat")
	line, _, _ := strings.Cut(string(text), "\n")
	f := strings.Fields(line)
	if len(f) < 9 {
		return 0
	}
	var sum int64
	for _, i := range []int{1, 2, 3, 6, 7, 8} {
		sum += number(f[i])
	}
	return float64(sum) / ticks
}

func number(s string) int64 {
	n, _ := strconv.ParseInt(s, 10, 64)
	return n
}
