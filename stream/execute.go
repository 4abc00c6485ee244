package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/filesystem"
	"github.com/tamias-project/tamias/pkg/worker"
)

// ErrCanceled: the job was stopped by its context, an interrupt or a SIGTERM before its end.
var ErrCanceled = errors.New("stream: job was canceled")

// Execute runs the job and returns when it has ended; an unbounded job ends when ctx does or the program is
// interrupted. The error says what is wrong with the program, why the job failed (with the stack, after a
// panic of user code), or wraps ErrCanceled.
//
// Started by hand, the program runs the whole job in its own process. Started by `tamias run` it hands
// over the job graph instead, and started by a TaskManager it runs that TaskManager's part of the job: then
// Execute does not return. A program should therefore call Execute once, as the last thing it does.
func (e *Env) Execute(ctx context.Context, name string) error {
	p, err := e.plan(name)
	if err != nil {
		return err
	}
	switch mode := os.Getenv(worker.EnvMode); mode {
	case worker.ModeLocal:
		return e.executeHere(ctx, p)
	case worker.ModePlan:
		if err := writePlan(p, os.Getenv(worker.EnvPlanFile)); err != nil {
			return err
		}
		os.Exit(0)
		return nil
	case worker.ModeWorker:
		if err := worker.ServePlugin(ctx, p, filesystem.NewResolver()); err != nil {
			return err
		}
		os.Exit(0)
		return nil
	default:
		return fmt.Errorf("stream: %s=%q is no mode of a program", worker.EnvMode, mode)
	}
}

// writePlan writes the job graph for the client that submits the job.
func writePlan(p *plan, file string) error {
	data, err := json.MarshalIndent(p.graph, "", "  ")
	if err == nil {
		err = os.WriteFile(file, data, 0o666)
	}
	if err != nil {
		return fmt.Errorf("stream: write the job graph: %w", err)
	}
	return nil
}

// executeHere runs the job in this process.
func (e *Env) executeHere(ctx context.Context, p *plan) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	defer context.AfterFunc(ctx, stop)() // a second interrupt ends the process at once
	log := e.log
	if log == nil {
		var err error
		cfg := zap.NewDevelopmentConfig()
		cfg.Level, cfg.DisableStacktrace = zap.NewAtomicLevelAt(zap.WarnLevel), true
		if log, err = cfg.Build(); err != nil {
			return fmt.Errorf("stream: open the log: %w", err)
		}
	}
	_, err := runLocal(ctx, p, log)
	return err
}
