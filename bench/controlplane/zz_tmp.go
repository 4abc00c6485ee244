package main

import (
	"fmt"
	"os"
	"os/signal"
	"runtime/pprof"
	"syscall"
)

func init() {
	dir := os.Getenv("FLEET_PROF")
	if dir == "" || len(os.Args) < 2 || os.Args[1] != "fleet" {
		return
	}
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGUSR1)
	go func() {
		on := false
		for range c {
			if on {
				pprof.StopCPUProfile()
			} else {
				f, _ := os.Create(fmt.Sprintf("%s/fleet-%d.cpu", dir, os.Getpid()))
				pprof.StartCPUProfile(f)
			}
			on = !on
		}
	}()
}
