package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// mutant is one way to break the code.
type mutant struct {
	name string
	// breaks is the promise that does not hold any more.
	breaks string
	// file is relative to the module; old is there exactly once and becomes new.
	file, old, new string
	// tests each have to fail.
	tests []test
}

// test is a narrow go test command.
type test struct {
	pkg, run string
	args     []string // for the test binary
}

func (t test) String() string {
	name := strings.TrimPrefix(t.pkg, "./")
	if t.run != "" {
		name += " " + t.run
	}
	return strings.Join(append([]string{name}, t.args...), " ")
}

// timeout bounds the test; a mutant that makes it hang is killed by that.
func (t test) timeout() time.Duration {
	if len(t.args) > 0 {
		return 10 * time.Minute // thousands of schedules
	}
	return time.Minute
}

// verdict is what one test said to one mutant.
type verdict struct {
	mutant mutant
	test   test
	killed bool
	// seed of the schedule that failed, and the number of schedules until then, when it was the simulation.
	seed, schedules string
	took            time.Duration
	broken          error // the mutant does not compile
}

func (v verdict) by() string {
	if v.seed != "" {
		return fmt.Sprintf("%s (after %s schedules: seed %s)", v.test, v.schedules, v.seed)
	}
	return v.test.String()
}

func moduleRoot() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	return filepath.Dir(strings.TrimSpace(string(out))), nil
}

// apply returns the file as the mutant has it.
func (m mutant) apply(root string) ([]byte, error) {
	source, err := os.ReadFile(filepath.Join(root, m.file))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.name, err)
	}
	if n := bytes.Count(source, []byte(m.old)); n != 1 {
		return nil, fmt.Errorf("%s: the text to replace is %d times in %s, want once: bring the list up to date", m.name, n, m.file)
	}
	return bytes.Replace(source, []byte(m.old), []byte(m.new), 1), nil
}

type runner struct {
	root string
}

// unbroken runs every test once without a mutant: one that always fails kills nothing.
func (r runner) unbroken(ctx context.Context, chosen []mutant) error {
	seen := map[string]bool{}
	for _, m := range chosen {
		for _, t := range m.tests {
			if seen[t.String()] {
				continue
			}
			seen[t.String()] = true
			if out, err := r.goTest(ctx, t, ""); err != nil {
				return fmt.Errorf("%s fails without any mutant: %w\n%s", t, err, out)
			}
		}
	}
	return ctx.Err()
}

// all runs the mutants, some at a time, and returns the verdicts in order.
func (r runner) all(ctx context.Context, chosen []mutant, atATime int) ([]verdict, error) {
	results := make([][]verdict, len(chosen))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atATime)
	for i, m := range chosen {
		g.Go(func() (err error) {
			results[i], err = r.one(ctx, m)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var all []verdict
	var broken error
	for _, verdicts := range results {
		for _, v := range verdicts {
			broken = errors.Join(broken, v.broken)
		}
		all = append(all, verdicts...)
	}
	return all, broken
}

func (r runner) one(ctx context.Context, m mutant) (verdicts []verdict, err error) {
	dir, err := os.MkdirTemp("", "mutant-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	overlay, err := m.overlay(r.root, dir)
	if err != nil {
		return nil, err
	}
	for _, t := range m.tests {
		began := time.Now()
		out, err := r.goTest(ctx, t, overlay)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		v := verdict{mutant: m, test: t, killed: err != nil, took: time.Since(began)}
		if unbuilt.Match(out) {
			v.killed, v.broken = false, fmt.Errorf("%s does not compile:\n%s", m.name, out)
		}
		if found := seedOf.FindSubmatch(out); found != nil {
			v.seed = string(found[1])
		}
		if found := schedules.FindSubmatch(out); found != nil {
			v.schedules = string(found[1])
		}
		verdicts = append(verdicts, v)
		fmt.Fprintf(os.Stderr, "%s: %s: killed %v, %s\n", m.name, v.by(), v.killed, v.took.Round(100*time.Millisecond))
		if *show && v.killed {
			os.Stderr.Write(out)
		}
	}
	return verdicts, nil
}

var (
	unbuilt = regexp.MustCompile(`(?m)\[(build|setup) failed\]`)
	seedOf  = regexp.MustCompile(`replay: .* -seed (\d+)`)
	// schedules is in the summary of the simulation.
	schedules = regexp.MustCompile(`(\d+) schedules, `)
)

// overlay writes the mutant's file and the map of the build that names it, and returns that.
func (m mutant) overlay(root, dir string) (string, error) {
	source, err := m.apply(root)
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, filepath.Base(m.file))
	mapping, err := json.Marshal(map[string]map[string]string{"Replace": {filepath.Join(root, m.file): file}})
	if err != nil {
		return "", err
	}
	name := filepath.Join(dir, "overlay.json")
	return name, errors.Join(os.WriteFile(file, source, 0o600), os.WriteFile(name, mapping, 0o600))
}

// goTest runs one test. An error that is no context's means that the test failed.
func (r runner) goTest(ctx context.Context, t test, overlay string) ([]byte, error) {
	args := []string{"test", "-count=1", "-vet=off", "-failfast", "-timeout", t.timeout().String()}
	if overlay != "" {
		args = append(args, "-overlay", overlay)
	}
	if t.run != "" {
		args = append(args, "-run", t.run)
	}
	cmd := exec.CommandContext(ctx, "go", append(append(args, t.pkg), t.args...)...)
	cmd.Dir = r.root
	// The tests are children of go's: all of them end with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	return cmd.CombinedOutput()
}
