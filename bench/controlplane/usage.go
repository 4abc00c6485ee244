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

// openFiles counts a process's file descriptors.
func openFiles(pid int) int {
	entries, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	return len(entries)
}
