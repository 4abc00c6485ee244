package files_test

import (
	"strings"
	"testing"

	"github.com/tamias-project/tamias/stream"
	"github.com/tamias-project/tamias/stream/connector/files"
)

// TestMistakesAreReportedBeforeTheJobRuns: a task that failed with them would be restarted for ever.
func TestMistakesAreReportedBeforeTheJobRuns(t *testing.T) {
	for _, tc := range []struct {
		name    string
		program func(*stream.Env)
		want    string
	}{
		{"no path", func(env *stream.Env) { stream.Discard(stream.From(env, "in", files.Lines())) }, "Source: in: no path to read from"},
		{"relative path", func(env *stream.Env) { stream.Discard(stream.From(env, "in", files.ByteLines("/a", "b/*"))) }, "Source: in: filesystem: b/*: want an absolute path"},
		{"pattern", func(env *stream.Env) { stream.Discard(stream.From(env, "in", files.Lines("/in/["))) }, "Source: in: /in/[: syntax error in pattern"},
		{"scheme", func(env *stream.Env) { stream.Discard(stream.From(env, "in", files.Lines("s3://b/x"))) }, `scheme "s3" is not supported`},
		{"relative directory", func(env *stream.Env) {
			stream.To(stream.From(env, "in", files.Lines("/in")), "out", files.Sink("out", files.Line))
		}, "Sink: out: filesystem: out: want an absolute path"},
		{"roll", func(env *stream.Env) {
			stream.To(stream.From(env, "in", files.Lines("/in")), "out", files.Sink("/out", files.Line, files.RollSize(0)))
		}, "Sink: out: files roll at 0 bytes"},
	} {
		env := stream.New()
		tc.program(env)
		if err := env.Execute(t.Context(), "wrong"); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: Execute = %v, want %q in it", tc.name, err, tc.want)
		}
	}
}
