// Command report reads lines that measure and the Flink runner printed and prints a table: for each
// workload and system the median, least and greatest records per second, the median CPU time per
// record and peak memory, and the ratios to the peer of the same session.
//
//	report -records w2=100000000 -records w3=50000000 results.jsonl
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

// line is what both runners print.
type line struct {
	System    string          `json:"system"`
	Label     string          `json:"label"`
	Run       int             `json:"run"`
	NetMillis float64         `json:"netMs"`
	CPU       float64         `json:"cpu"`
	Other     float64         `json:"other"`
	RSS       json.RawMessage `json:"rss"`
	// Records of this run; 0 means what -records says.
	Records float64 `json:"records"`
}

// rss is one number, or one for each process.
func (l line) rss() (sum float64) {
	var one float64
	var each []float64
	if json.Unmarshal(l.RSS, &one) == nil {
		return one
	}
	_ = json.Unmarshal(l.RSS, &each) // neither: 0, shown as such
	for _, v := range each {
		sum += v
	}
	return sum
}

// rate is millions of records per second, cpu nanoseconds of CPU time for each record.
func (l line) rate() float64 { return l.Records / l.NetMillis / 1000 }
func (l line) cpu() float64  { return l.CPU * 1e9 / l.Records }

// records counts input records by workload name: the first word of a label.
type records map[string]float64

func (r records) String() string { return "" }

func (r records) Set(s string) error {
	name, n, ok := strings.Cut(s, "=")
	v, err := strconv.ParseFloat(n, 64)
	if !ok || err != nil {
		return fmt.Errorf("%q: expected WORKLOAD=RECORDS", s)
	}
	r[name] = v
	return nil
}

func main() {
	counts := records{}
	flag.Var(counts, "records", "WORKLOAD=RECORDS, repeatable")
	flag.Parse()
	if err := report(os.Stdout, flag.Args(), counts); err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
}

func report(out io.Writer, files []string, counts records) error {
	runs := map[string]map[string][]line{} // label, system
	var labels []string
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		for in := bufio.NewScanner(f); in.Scan(); {
			var l line
			if err := json.Unmarshal(in.Bytes(), &l); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if l.Run < 0 {
				continue
			}
			if l.System == "" {
				l.System = "flink"
			}
			if runs[l.Label] == nil {
				runs[l.Label] = map[string][]line{}
				labels = append(labels, l.Label)
			}
			workload, _, _ := strings.Cut(l.Label, " ")
			if l.Records = cmp.Or(l.Records, counts[workload]); l.Records == 0 {
				return fmt.Errorf("label %q: say how many records with -records %s=N", l.Label, workload)
			}
			runs[l.Label][l.System] = append(runs[l.Label][l.System], l)
		}
	}
	fmt.Fprintln(out, "| workload | system | runs | M records/s: median (min-max) | CPU ns/record: median (min-max) | peak MiB | foreign CPU s |")
	fmt.Fprintln(out, "| --- | --- | --- | --- | --- | --- | --- |")
	for _, label := range labels {
		for _, system := range []string{"tamias", "flink"} {
			if ls := runs[label][system]; len(ls) > 0 {
				row(out, label, system, ls)
			}
		}
		ours, theirs := runs[label]["tamias"], runs[label]["flink"]
		if len(ours) > 0 && len(theirs) > 0 {
			fmt.Fprintf(out, "| %s | ratio | | %.2f x | 1/%.1f | | |\n", label,
				spread(ours, line.rate).median/spread(theirs, line.rate).median, spread(theirs, line.cpu).median/spread(ours, line.cpu).median)
		}
	}
	return nil
}

func row(out io.Writer, label, system string, ls []line) {
	rate, cpu := spread(ls, line.rate), spread(ls, line.cpu)
	rss := spread(ls, line.rss)
	other := spread(ls, func(l line) float64 { return l.Other })
	fmt.Fprintf(out, "| %s | %s | %d | %.2f (%.2f-%.2f) | %.0f (%.0f-%.0f) | %.0f | %.1f |\n", label, system, len(ls),
		rate.median, rate.min, rate.max, cpu.median, cpu.min, cpu.max, rss.median, other.median)
}

type range3 struct{ min, median, max float64 }

func spread(ls []line, value func(line) float64) range3 {
	var vs []float64
	for _, l := range ls {
		vs = append(vs, value(l))
	}
	slices.Sort(vs)
	return range3{vs[0], vs[len(vs)/2], vs[len(vs)-1]}
}
