// Command check reads what the numbered job has committed and says whether a record was lost or repeated. The
// job may be running. It exits with 1 if something is wrong, with 2 if it could not find out.
//
//	check [-o json] [-times] [-n RECORDS -keys KEYS] DIR
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/tamias-project/tamias/examples/numbered/verify"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, out, errs io.Writer) int {
	flags := flag.NewFlagSet("check", flag.ContinueOnError)
	flags.SetOutput(errs)
	format := flags.String("o", "text", "output `format`: text or json")
	var o verify.Options
	flags.BoolVar(&o.Times, "times", false, "json: list when each record was counted, in microseconds since 1970")
	flags.Int64Var(&o.Expect, "n", 0, "the job has finished and had this number of records: all must be there")
	flags.Int64Var(&o.Keys, "keys", 5040, "number of keys that the job was started with, for -n")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if flags.NArg() != 1 || *format != "text" && *format != "json" {
		fmt.Fprintln(errs, "usage: check [-o json] [-times] [-n RECORDS -keys KEYS] DIR")
		return 2
	}
	dir := flags.Arg(0)
	if !strings.Contains(dir, ":/") { // not a URI
		if abs, err := filepath.Abs(dir); err == nil {
			dir = abs
		}
	}
	report, err := verify.Directory(context.Background(), dir, o)
	if err != nil {
		fmt.Fprintln(errs, "check:", err)
		return 2
	}
	if report.Files == 0 {
		fmt.Fprintf(errs, "check: %s has no committed file: the job has not come to its first checkpoint, or the directory is another one\n", dir)
		return 2
	}
	if *format == "json" {
		err = json.NewEncoder(out).Encode(report)
	} else {
		_, err = fmt.Fprintf(out, "%d records of %d keys in %d files: %d lost, %d repeated, %d out of order, %d gaps in counts, %d malformed lines\n",
			report.Records, report.Keys, report.Files, report.Lost, report.Repeated, report.OutOfOrder, report.CountGaps, report.Malformed)
	}
	if err != nil {
		fmt.Fprintln(errs, "check:", err)
		return 2
	}
	if !report.OK() {
		return 1
	}
	return 0
}
