package dispatcher

import (
	"context"
	"sync"

	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
)

// concurrentDetails bounds how many JobMasters are asked at a time.
const concurrentDetails = 16

// Jobs describes the jobs that have not ended, for the process itself: leading is false while another
// process leads, or this one has not recovered yet.
func (d *Dispatcher) Jobs(ctx context.Context) (jobs []protocol.JobDetails, leading bool) {
	t := d.term.Load()
	if t == nil {
		return nil, false
	}
	found, err := rpc.Call(ctx, t.main, func() (found []snapshot, err error) {
		if !t.ready {
			return nil, protocol.ErrNotReady
		}
		for _, j := range t.jobs {
			if j.phase == running {
				found = append(found, j.snapshot())
			}
		}
		return found, nil
	})
	if err != nil {
		return nil, false
	}
	jobs = make([]protocol.JobDetails, len(found))
	room := make(chan struct{}, concurrentDetails)
	var asking sync.WaitGroup
	for i, s := range found {
		room <- struct{}{}
		asking.Go(func() { jobs[i] = t.ask(ctx, s); <-room })
	}
	asking.Wait()
	return jobs, true
}

// Leadership is what DescribeLeadership answers, for the process itself: ok is false while another process
// leads, or this one has not read the history yet.
func (d *Dispatcher) Leadership(ctx context.Context) (l protocol.Leadership, ok bool) {
	t := d.term.Load()
	if t == nil {
		return l, false
	}
	l, err := rpc.Call(ctx, t.main, func() (protocol.Leadership, error) { return t.describeLeadership(protocol.Empty{}) })
	return l, err == nil
}
