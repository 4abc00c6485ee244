package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"
)

// figure is one number with its name, which ends with its unit.
type figure struct {
	name  string
	value float64
}

// measurement is one line of a table. All measurements of one kind have the same figures.
type measurement struct {
	at      time.Time
	kind    string
	figures []figure
}

type report struct{ measurements []measurement }

func (r *report) add(kind string, figures ...figure) {
	r.measurements = append(r.measurements, measurement{time.Now(), kind, figures})
}

// print writes one table for each kind.
func (r *report) print(w io.Writer) {
	var kind string
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, m := range r.measurements {
		if m.kind != kind {
			kind = m.kind
			t.Flush()
			fmt.Fprintf(w, "\n%s\n", kind)
			fmt.Fprintln(t, cells(m, func(f figure) string { return strings.ReplaceAll(f.name, "_", " ") }))
		}
		fmt.Fprintln(t, cells(m, func(f figure) string { return number(f.value) }))
	}
	t.Flush()
}

func cells(m measurement, text func(figure) string) string {
	var b strings.Builder
	for _, f := range m.figures {
		b.WriteString(text(f) + "\t")
	}
	return b.String()
}

// number has three digits or more.
func number(v float64) string {
	switch digits := math.Floor(math.Log10(math.Abs(v))); {
	case v == math.Trunc(v), digits >= 2:
		return fmt.Sprintf("%.0f", v)
	case digits >= 1:
		return fmt.Sprintf("%.1f", v)
	case digits >= -1:
		return fmt.Sprintf("%.2f", v)
	default:
		return fmt.Sprintf("%.4f", v)
	}
}

// append adds the measurements to a file of JSON lines.
func (r *report) append(file string) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	encoder := json.NewEncoder(f)
	for _, m := range r.measurements {
		line := map[string]any{"measurement": m.kind, "at": m.at, "processors": runtime.NumCPU()}
		for _, x := range m.figures {
			line[x.name] = x.value
		}
		if err := encoder.Encode(line); err != nil {
			return err
		}
	}
	return nil
}
