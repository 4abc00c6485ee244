package simulation

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/entrypoint"
	"github.com/tamias-project/tamias/pkg/filesystem"
	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/rpc"
	"github.com/tamias-project/tamias/pkg/taskmanager"
)

// process is one simulated process, which may live several times.
type process struct {
	world *world
	name  string // also its address
	run   func(ctx context.Context, l *life) error

	mu     sync.Mutex // guards all below; leaf but for the network and the HA cluster
	life   *life      // the present one, or the last; nil before the first
	frozen bool
}

// life is one life of a process, from its start to its end.
type life struct {
	process *process
	dead    <-chan struct{} // closed when it was killed: from that moment nothing that it does has an effect
	die     func()
	stop    context.CancelFunc
	ended   chan struct{} // closed when none of its goroutines is left
	wire    *wire
	backend *backend
}

func (l *life) killed() bool {
	select {
	case <-l.dead:
		return true
	default:
		return false
	}
}

// present is the life that p lives now, or its last one.
func (p *process) present() *life {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.life
}

func (p *process) isTaskManager() bool { return strings.HasPrefix(p.name, "tm") }

func (p *process) alive() bool {
	l := p.present()
	return l != nil && !l.killed()
}

// start begins a new life when the last one has ended.
func (p *process) start() {
	if last := p.present(); last != nil {
		<-last.ended
	}
	ctx, stop := context.WithCancel(context.Background())
	l := p.newLife(stop)
	go func() {
		defer close(l.ended)
		if err := p.run(ctx, l); err != nil && ctx.Err() == nil {
			p.world.t.Errorf("%s ended: %v", p.name, err)
		}
	}()
}

func (p *process) newLife(stop context.CancelFunc) *life {
	p.mu.Lock()
	defer p.mu.Unlock()
	dead := make(chan struct{})
	l := &life{process: p, dead: dead, die: sync.OnceFunc(func() { close(dead) }), stop: stop, ended: make(chan struct{})}
	l.wire = &wire{Node: p.world.network.Node(p.name), life: l}
	l.backend = &backend{Driver: p.world.ha.Driver(p.name), life: l}
	p.life, p.frozen = l, false
	return l
}

// crash ends a life as SIGKILL would, and returns at once: the caller may be one of its goroutines.
func (l *life) crash() {
	p := l.process
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.life != l || l.killed() {
		return
	}
	l.die()
	p.thawLocked(0) // a frozen process dies too
	p.world.network.Kill(p.name)
	p.world.ha.Kill(p.name)
	l.stop()
}

// kill is crash, and waits for the end.
func (p *process) kill() {
	if l := p.present(); !l.killed() {
		l.crash()
		<-l.ended
	}
}

func (p *process) freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.life.killed() && !p.frozen {
		p.frozen = true
		p.world.network.Freeze(p.name)
		p.world.ha.Freeze(p.name)
	}
}

// thaw lets a frozen process go on. For unaware it does not hear what the HA services have to tell it, and
// acts on what it knew before.
func (p *process) thaw(unaware time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.thawLocked(unaware)
}

func (p *process) thawLocked(unaware time.Duration) {
	if !p.frozen {
		return
	}
	p.frozen = false
	p.world.network.Thaw(p.name)
	l := p.life
	aware := func() {
		if !l.killed() {
			p.world.ha.Thaw(p.name)
		}
	}
	if unaware > 0 {
		time.AfterFunc(unaware, func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			if p.life == l && !p.frozen {
				aware()
			}
		})
		return
	}
	p.world.ha.Thaw(p.name)
}

// services of one life of a process, and its network.
func (l *life) services() (*haservices.Services, *rpc.Service) {
	w, p := l.process.world, l.process.name
	return haservices.New(haservices.Config{
		Driver:     l.backend,
		FileSystem: &disk{files: w.files, life: l},
		StorageDir: "/ha",
		ClusterID:  "simulation",
		Me:         haservices.Contender{Process: l.wire.Process(), Address: p},
		Log:        w.log.With(zap.String("process", p)),
	}), rpc.NewService(l.wire)
}

// serve serves rpc while f runs, then closes the services.
func serve(ctx context.Context, services *haservices.Services, s *rpc.Service, f func(ctx context.Context) error) error {
	var served sync.WaitGroup
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	served.Go(func() { s.Run(serving) })
	err := f(ctx)
	closing, cancel := context.WithTimeout(serving, time.Minute)
	defer cancel()
	services.Close(closing) // a killed process closes nothing, and is not asked to
	stop()
	served.Wait()
	return err
}

func runJobManager(ctx context.Context, l *life) error {
	services, s := l.services()
	jm := &entrypoint.JobManager{
		RPC:      s,
		Services: services,
		Defaults: entrypoint.Defaults{CheckpointDir: "/checkpoints"},
		Timing: entrypoint.Timing{
			HeartbeatInterval: heartbeatInterval, HeartbeatTimeout: heartbeatTimeout,
			Adoption: adoptionTimeout, SlotRequest: 5 * time.Minute,
		},
		Stop: func() {},
		Log:  l.process.world.log.With(zap.String("process", l.process.name)),
	}
	return serve(ctx, services, s, jm.Run)
}

func runTaskManager(ctx context.Context, l *life) error {
	services, s := l.services()
	w, name := l.process.world, id.TaskManager(l.process.name)
	tm := taskmanager.New(taskmanager.Config{
		ID:            name,
		Slots:         slots,
		Services:      services,
		RPC:           s,
		OrphanTimeout: orphanTimeout,
		// Some are left alone for long, and have to be there afterwards.
		RegistrationTimeout: time.Hour,
		Launcher:            w.tasks.Launcher(name),
		Log:                 w.log.With(zap.String("process", l.process.name)),
	})
	err := serve(ctx, services, s, tm.Run)
	w.witness.counted(l, tm.FencedMessages())
	return err
}

// disk is the shared file system as one life sees it: after a kill it writes nothing any more.
type disk struct {
	files *filesystem.Memory
	life  *life
}

var errKilled = errors.New("the process was killed")

func (d *disk) usable() error {
	if d.life.killed() {
		return errKilled
	}
	return nil
}

func (d *disk) Create(ctx context.Context, path string, r io.Reader) error {
	if err := d.usable(); err != nil {
		return err
	}
	return d.files.Create(ctx, path, r)
}

func (d *disk) Open(ctx context.Context, path string) (io.ReadCloser, error) {
	if err := d.usable(); err != nil {
		return nil, err
	}
	return d.files.Open(ctx, path)
}

func (d *disk) Delete(ctx context.Context, path string) error {
	if err := d.usable(); err != nil {
		return err
	}
	d.life.process.world.witness.deletes(d.life, path)
	return d.files.Delete(ctx, path)
}

func (d *disk) List(ctx context.Context, path string) ([]string, error) {
	if err := d.usable(); err != nil {
		return nil, err
	}
	return d.files.List(ctx, path)
}
