// Package simulation runs a whole control plane in memory - three JobManagers, five TaskManagers with
// simulated tasks, HA services, network - under random schedules of kills, freezes, cuts, delays, lost
// answers and lost sessions, in virtual time, and checks after each schedule what Tamias promises: one
// acting leader for each component, no write accepted from a leader of the past, no task restarted
// because the control plane failed, no acknowledged job lost, no finished job run again, checkpoint IDs
// that rise. A schedule is a function of its seed: a failure prints the command that replays it.
package simulation
