package rpc

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

// TestCodeOfSeveralErrors: the far side always sees the same one, and rather why than that somebody stopped waiting.
func TestCodeOfSeveralErrors(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want error
	}{
		{fmt.Errorf("%w: %w", context.Canceled, ErrFenced), ErrFenced},
		{errors.Join(ErrStopped, context.Canceled), ErrStopped},
		{errors.Join(context.DeadlineExceeded, ErrStopped, ErrFenced), ErrFenced},
	} {
		for range 50 {
			if got := errorOf(codeOf(tc.err), ""); !errors.Is(got, tc.want) {
				t.Fatalf("%q arrives as %T %v, want %v", tc.err, got, got, tc.want)
			}
		}
	}
}
