package harness

import (
	"testing"

	"github.com/tamias-project/tamias/examples/numbered/verify"
)

// CheckNumbered checks the output of the example numbered, of a job that ended without finishing: every record
// up to some point is there, once, with the right count.
func CheckNumbered(t testing.TB, output string) {
	t.Helper()
	checkNumbered(t, output, verify.Options{})
}

// CheckAllNumbered checks the output of a numbered job that has finished after n records of the default
// number of keys.
func CheckAllNumbered(t testing.TB, output string, n int64) {
	t.Helper()
	if r := checkNumbered(t, output, verify.Options{Expect: n, Keys: 5040}); r.Records != n {
		t.Errorf("%d records in the output, want %d", r.Records, n)
	}
}

func checkNumbered(t testing.TB, output string, o verify.Options) *verify.Report {
	t.Helper()
	r, err := verify.Directory(t.Context(), output, o)
	if err != nil {
		t.Fatal(err)
	}
	if !r.OK() || r.Records == 0 {
		t.Errorf("output is wrong: %+v", *r)
	}
	return r
}
