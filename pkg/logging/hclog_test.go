package logging_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/logging"
)

func TestHclogToZap(t *testing.T) {
	core, logs := observer.New(zapcore.InfoLevel)
	l := logging.NewHclog(zap.New(core)).With("job-id", "j1").Named("plugin")
	for _, tc := range []struct {
		log   func(string, ...any)
		level zapcore.Level
		lines int
	}{
		{l.Trace, 0, 0},
		{l.Debug, 0, 0},
		{l.Info, zapcore.InfoLevel, 1},
		{l.Warn, zapcore.WarnLevel, 1},
		{l.Error, zapcore.ErrorLevel, 1},
	} {
		tc.log("said", "n", hclog.Fmt("%d of %d", 1, 2), "timestamp", "now", "execution-attempt-id", "a1")
		got := logs.TakeAll()
		if len(got) != tc.lines {
			t.Errorf("%d lines, want %d", len(got), tc.lines)
			continue
		}
		for _, e := range got {
			fields := e.ContextMap()
			if keys := e.Context; keys[1].Key != "execution-attempt-id" || keys[2].Key != "n" {
				t.Errorf("fields %v are not sorted", keys)
			}
			if e.Level != tc.level || e.Message != "said" || len(fields) != 3 ||
				fields["job-id"] != "j1" || fields["execution-attempt-id"] != "a1" || fields["n"] != "1 of 2" {
				t.Errorf("logged %s %q %v", e.Level, e.Message, fields)
			}
		}
	}
	if l.IsDebug() || !l.IsInfo() || l.GetLevel() != hclog.Info {
		t.Errorf("IsDebug %t, IsInfo %t, GetLevel %s, want those of zap", l.IsDebug(), l.IsInfo(), l.GetLevel())
	}
}

func TestZapToHclog(t *testing.T) {
	var out bytes.Buffer
	l := logging.FromHclog(hclog.New(&hclog.LoggerOptions{Level: hclog.Info, Output: &out, JSONFormat: true}))
	attempt := id.ExecutionAttempt{Subtask: 3}
	l.Debug("not logged")
	l.With(logging.Attempt(attempt)).Warn("said", zap.Int("n", 7), zap.Error(errors.New("oh")), logging.Token(id.NewFencingToken(9)))
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatalf("%v: %s", err, out.String())
	}
	for key, want := range map[string]any{
		"@message": "said", "@level": "warn", "execution-attempt-id": attempt.String(), "n": 7.0, "error": "oh", "epoch": 9.0,
	} {
		if line[key] != want {
			t.Errorf("%s is %v, want %v", key, line[key], want)
		}
	}
}
