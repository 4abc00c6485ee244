// Command mutants breaks the code on purpose, one way at a time, and runs the tests that should notice:
// a mutant that survives shows a promise that no test holds. The list names for each mutant the promise
// that it breaks, the text that it replaces (which must be there exactly once, so the list cannot rot),
// and the tests of which each one has to fail.
//
// The tree is never touched: a mutant is compiled through go test -overlay. Exit code 1 when a mutant
// survives, 2 when the list does not fit the code or a test fails without any mutant.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"syscall"
	"text/tabwriter"
	"time"
)

var (
	only = flag.String("run", "", "only mutants whose name matches this regular expression")
	jobs = flag.Int("jobs", 2, "mutants at a time")
	list = flag.Bool("list", false, "only list the mutants")
	show = flag.Bool("v", false, "show how tests failed")
)

func main() {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	survivors, err := run(ctx, os.Stdout)
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(2)
	case survivors > 0:
		fmt.Fprintf(os.Stderr, "mutants: %d of %d survived\n", survivors, len(mutants))
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer) (survivors int, err error) {
	pattern, err := regexp.Compile(*only)
	if err != nil {
		return 0, err
	}
	var chosen []mutant
	for _, m := range mutants {
		if pattern.MatchString(m.name) {
			chosen = append(chosen, m)
		}
	}
	root, err := moduleRoot()
	if err != nil {
		return 0, err
	}
	for _, m := range chosen { // all of them before any runs
		if _, e := m.apply(root); e != nil {
			err = errors.Join(err, e)
		}
	}
	if err != nil || *list {
		for _, m := range chosen {
			fmt.Fprintf(out, "%s: %s\n", m.name, m.breaks)
		}
		return 0, err
	}
	r := runner{root: root}
	if err := r.unbroken(ctx, chosen); err != nil {
		return 0, err
	}
	began := time.Now()
	verdicts, err := r.all(ctx, chosen, *jobs)
	if err != nil {
		return 0, err
	}
	survivors = report(out, verdicts)
	fmt.Fprintf(out, "%d mutants, %d survived, %s\n", len(chosen), survivors, time.Since(began).Round(time.Second))
	return survivors, nil
}

// report prints the table and counts the mutants that a test did not notice.
func report(out io.Writer, verdicts []verdict) (survivors int) {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "mutant\tbreaks\tverdict\tby\tseconds")
	var survived []string
	for _, v := range verdicts {
		word := "killed"
		if !v.killed {
			word = "SURVIVED"
			survived = append(survived, v.mutant.name)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%.1f\n", v.mutant.name, v.mutant.breaks, word, v.by(), v.took.Seconds())
	}
	table.Flush()
	return len(slices.Compact(survived))
}
