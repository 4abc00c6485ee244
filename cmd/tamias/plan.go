package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/tamias-project/tamias/pkg/jobgraph"
	"github.com/tamias-project/tamias/pkg/worker"
)

// program is a job's binary on this machine.
type program struct {
	path string
	dir  string // of a binary that was built for this command, to be removed
}

// openProgram finds the binary that arg names, and builds it when arg is the directory of a Go package.
func (c *cli) openProgram(ctx context.Context, arg string) (program, error) {
	path, err := filepath.Abs(arg)
	if err != nil {
		return program{}, err
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return program{}, sentence("Could not find the program: %s", err)
	case info.IsDir():
		return c.build(ctx, path)
	case info.Mode()&0o111 == 0:
		return program{}, sentence("%s is not executable. A job is a Go program: build it, or name the directory of its package.", arg)
	}
	return program{path: path}, nil
}

func (c *cli) build(ctx context.Context, pkg string) (program, error) {
	dir, err := os.MkdirTemp("", "tamias-build-")
	if err != nil {
		return program{}, err
	}
	p := program{path: filepath.Join(dir, filepath.Base(pkg)), dir: dir}
	cmd := exec.CommandContext(ctx, "go", "build", "-o", p.path, ".")
	cmd.Dir, cmd.Stdout, cmd.Stderr = pkg, c.stderr, c.stderr
	if err := cmd.Run(); err != nil {
		p.remove()
		return program{}, fail(err, "Could not build %s.", pkg)
	}
	if info, err := os.Stat(p.path); err != nil || info.Mode()&0o111 == 0 { // of other packages it makes nothing, or an archive
		p.remove()
		return program{}, sentence("%s is not a main package: go build made no program of it.", pkg)
	}
	return p, nil
}

// remove deletes a binary that was built for this command.
func (p program) remove() {
	if p.dir != "" {
		os.RemoveAll(p.dir) // in the temporary directory: what cannot be removed does no harm
	}
}

// plan asks the program for its job graph. What the program prints goes to stdout and c.stderr.
// defaults are the environment variables with settings for a program that sets none itself.
func (c *cli) plan(ctx context.Context, p program, args, defaults []string, stdout io.Writer) (*jobgraph.JobGraph, error) {
	dir, err := os.MkdirTemp("", "tamias-plan-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir) // in the temporary directory: what cannot be removed does no harm
	file := filepath.Join(dir, "plan.json")
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, p.path, args...)
	cmd.Env = append(os.Environ(), worker.EnvMode+"="+worker.ModePlan, worker.EnvPlanFile+"="+file)
	cmd.Env = append(cmd.Env, defaults...)
	cmd.Stdout, cmd.Stderr = stdout, io.MultiWriter(c.stderr, &said)
	if err := cmd.Run(); err != nil {
		var exited *exec.ExitError
		if errors.As(err, &exited) {
			return nil, fail(fmt.Errorf("%s ended with %s while it built its job graph", p.path, exited), "The main method caused an error.")
		}
		if errors.Is(err, syscall.ENOEXEC) {
			err = fmt.Errorf("it is no program for this machine, which is %s/%s", runtime.GOOS, runtime.GOARCH)
		}
		return nil, fail(err, "Could not start %s.", p.path)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, fail(fmt.Errorf("%s ended without a job graph: it is no Tamias program, or its main function does not call Execute", p.path), "The program contains no job.")
	}
	g := &jobgraph.JobGraph{}
	if err := json.Unmarshal(content, g); err != nil {
		return nil, fail(err, "The job graph of %s cannot be read.", p.path)
	}
	return g, nil
}

// binary describes the program's file as a blob.
func (p program) binary() (jobgraph.Binary, error) {
	f, err := os.Open(p.path)
	if err != nil {
		return jobgraph.Binary{}, err
	}
	defer f.Close()
	hash := sha256.New()
	size, err := io.Copy(hash, f)
	if err != nil {
		return jobgraph.Binary{}, fmt.Errorf("read %s: %w", p.path, err)
	}
	return jobgraph.Binary{Key: hex.EncodeToString(hash.Sum(nil)), Size: size}, nil
}
