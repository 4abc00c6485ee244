// Package worker runs tasks inside a job process. It owns what a task is besides the user's operators:
// its goroutine, its inputs and outputs, barriers and their alignment, snapshots and the files they go
// to, the end of the input and the final commit, and the report of all that. It knows no record type:
// package stream gives it Chains, which encode and decode for themselves.
//
// A TaskManager reaches a Worker through its RPC endpoint (the protocol.Worker calls), over the Unix
// socket of the plugin; the runner that executes a job in one process calls the same methods directly.
//
// Each task is one goroutine that calls the operators of its chain. What others want of it (trigger,
// complete or abort a checkpoint, finish) waits in a mailbox that the task looks into between batches,
// so operators never see two goroutines. Cancelling ends the task's context instead of waiting there. A
// panic in user code fails that attempt alone. Keyed state is copied on write: the task goes on while a
// second goroutine, owned by the task, writes the files of a snapshot.
//
// Tasks live as long as the Worker's Run; no session with a master has any part in that.
package worker
