package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"
	"strconv"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/tamias-project/tamias/pkg/config"
	"github.com/tamias-project/tamias/pkg/entrypoint"
	"github.com/tamias-project/tamias/pkg/filesystem"
	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
	"github.com/tamias-project/tamias/pkg/taskmanager"
)

// fleetOrder is the first line on a fleet's standard input: what to run.
type fleetOrder struct {
	// ConfigDir is the cluster's, DebugDir that of the sockets for profiles.
	ConfigDir, DebugDir string
	// First and Count number the TaskManagers.
	First, Count int
	// PerPort TaskManagers share a port. Slots of each TaskManager.
	PerPort, Slots int
}

// question is each line after it; the answer is a line on standard output.
type question struct {
	// Epoch of the ResourceManager or of the JobMasters that the question is about.
	Epoch uint64
	// Tasks: count tasks too, which takes a while.
	Tasks bool
}

// runFleet is a fleet process: it holds TaskManagers and answers questions until its input ends. Nothing of a
// fleet outlives its process, so nothing is undone.
func runFleet(in io.Reader, out io.Writer) error {
	debug.SetGCPercent(400) // the memory of this process is not what is measured
	orders, answers := json.NewDecoder(in), json.NewEncoder(out)
	var o fleetOrder
	if err := orders.Decode(&o); err != nil {
		return fmt.Errorf("read order: %w", err)
	}
	stop, err := serveDebug(o.DebugDir)
	if err != nil {
		return err
	}
	defer stop()
	f, err := newFleet(o)
	if err != nil {
		return err
	}
	failed := make(chan error, o.Count) // room for all: none waits to fail
	for n := 0; n < o.Count; n += o.PerPort {
		if err := f.startPort(o.First+n, min(o.PerPort, o.Count-n), failed); err != nil {
			return err
		}
	}
	for {
		var q question
		if err := orders.Decode(&q); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read question: %w", err)
		}
		select {
		case err := <-failed:
			return err
		default:
		}
		if err := answers.Encode(f.witness.answer(q)); err != nil {
			return err
		}
	}
}

// fleet is what its TaskManagers share.
type fleet struct {
	order    fleetOrder
	services *haservices.Services
	witness  *witness
	log      *zap.Logger
}

func newFleet(o fleetOrder) (*fleet, error) {
	log := errorsOnly()
	services, err := clusterServices(o.ConfigDir, log, func(d haservices.Driver) haservices.Driver {
		return observeOnce(d, haservices.Component{Kind: haservices.ResourceManager})
	})
	if err != nil {
		return nil, err
	}
	return &fleet{order: o, services: services, witness: newWitness(), log: log}, nil
}

// clusterServices are the HA services of a client of the cluster with that configuration.
func clusterServices(configDir string, log *zap.Logger, wrap func(haservices.Driver) haservices.Driver) (*haservices.Services, error) {
	cfg, _, err := config.Load(configDir, nil)
	if err != nil {
		return nil, err
	}
	files := filesystem.NewResolver()
	driver, err := entrypoint.NewDriver(cfg, entrypoint.DriverConfig{FileSystem: files, Log: log})
	if err != nil {
		return nil, err
	}
	return haservices.New(haservices.Config{
		Driver: wrap(driver), FileSystem: files, Log: log,
		StorageDir: config.HAStorageDir.In(cfg), ClusterID: config.HAClusterID.In(cfg),
	}), nil
}

// startPort starts TaskManagers that share a port, as if they were one process.
func (f *fleet) startPort(first, count int, failed chan<- error) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	service := rpc.NewService(&watchedTransport{rpc.NewTransport(l, "127.0.0.1"), f.witness})
	go func() { failed <- service.Run(context.Background()) }()
	for n := first; n < first+count; n++ {
		name := id.TaskManager(fmt.Sprintf("tm-%05d", n))
		endpoint := ""
		if f.order.PerPort > 1 {
			endpoint = protocol.TaskManagerEndpoint + "/" + strconv.Itoa(n)
		}
		tm := taskmanager.New(taskmanager.Config{
			ID: name, Endpoint: endpoint, Slots: f.order.Slots, Services: f.services, RPC: service,
			Host:     protocol.HostInfo{PID: os.Getpid()},
			Launcher: f.witness.tasks.Launcher(name), Log: f.log,
			MetricsInterval: 10 * time.Second, // job processes would be asked on machines of their own
		})
		go func() { failed <- fmt.Errorf("task manager %s ended: %w", name, tm.Run(context.Background())) }()
	}
	return nil
}

// errorsOnly logs what needs a person to standard error.
func errorsOnly() *zap.Logger {
	return zap.New(zapcore.NewCore(zapcore.NewConsoleEncoder(zap.NewDevelopmentEncoderConfig()), zapcore.Lock(os.Stderr), zap.ErrorLevel))
}
