package logging

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"slices"
	"strings"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// NewHclog returns an hclog.Logger that writes to log: go-plugin logs through it, and by go-plugin the
// job processes. Key/value pairs become fields with the same keys. Trace becomes Debug.
func NewHclog(log *zap.Logger) hclog.Logger {
	// The caller's line is of no use: it is always a line of go-plugin.
	return &hclogger{log: log.WithOptions(zap.WithCaller(false))}
}

// hclogger is the adapter; loggers made from it share nothing but log's core.
type hclogger struct {
	log     *zap.Logger // with the implied arguments
	name    string
	implied []any
}

var zapLevels = map[hclog.Level]zapcore.Level{
	hclog.NoLevel: zapcore.InfoLevel,
	hclog.Trace:   zapcore.DebugLevel,
	hclog.Debug:   zapcore.DebugLevel,
	hclog.Info:    zapcore.InfoLevel,
	hclog.Warn:    zapcore.WarnLevel,
	hclog.Error:   zapcore.ErrorLevel,
}

// Log implements hclog.Logger.
func (l *hclogger) Log(level hclog.Level, msg string, args ...any) {
	if level == hclog.Off {
		return
	}
	if e := l.log.Check(zapLevels[level], msg); e != nil {
		fs := fields(args)
		// go-plugin hands over what a job process logged in any order; people compare lines.
		slices.SortStableFunc(fs, func(a, b zap.Field) int { return strings.Compare(a.Key, b.Key) })
		e.Write(fs...)
	}
}

func (l *hclogger) Trace(msg string, args ...any) { l.Log(hclog.Trace, msg, args...) }
func (l *hclogger) Debug(msg string, args ...any) { l.Log(hclog.Debug, msg, args...) }
func (l *hclogger) Info(msg string, args ...any)  { l.Log(hclog.Info, msg, args...) }
func (l *hclogger) Warn(msg string, args ...any)  { l.Log(hclog.Warn, msg, args...) }
func (l *hclogger) Error(msg string, args ...any) { l.Log(hclog.Error, msg, args...) }

func (l *hclogger) enabled(level hclog.Level) bool { return l.log.Core().Enabled(zapLevels[level]) }

// IsTrace is false: there is nothing below Debug, and go-plugin's traces are not worth their lines.
func (l *hclogger) IsTrace() bool { return false }
func (l *hclogger) IsDebug() bool { return l.enabled(hclog.Debug) }
func (l *hclogger) IsInfo() bool  { return l.enabled(hclog.Info) }
func (l *hclogger) IsWarn() bool  { return l.enabled(hclog.Warn) }
func (l *hclogger) IsError() bool { return l.enabled(hclog.Error) }

// ImpliedArgs implements hclog.Logger.
func (l *hclogger) ImpliedArgs() []any { return slices.Clone(l.implied) }

// With implements hclog.Logger.
func (l *hclogger) With(args ...any) hclog.Logger {
	return &hclogger{log: l.log.With(fields(args)...), name: l.name, implied: append(slices.Clone(l.implied), args...)}
}

// Name implements hclog.Logger.
func (l *hclogger) Name() string { return l.name }

// Named implements hclog.Logger. The name is remembered and not logged: which job it is, its fields say.
func (l *hclogger) Named(name string) hclog.Logger {
	if l.name != "" {
		name = l.name + "." + name
	}
	return l.ResetNamed(name)
}

// ResetNamed implements hclog.Logger.
func (l *hclogger) ResetNamed(name string) hclog.Logger {
	return &hclogger{log: l.log, name: name, implied: l.implied}
}

// SetLevel does nothing: the level is zap's.
func (l *hclogger) SetLevel(hclog.Level) {}

// GetLevel returns the lowest level that is logged.
func (l *hclogger) GetLevel() hclog.Level {
	for _, level := range []hclog.Level{hclog.Debug, hclog.Info, hclog.Warn, hclog.Error} {
		if l.enabled(level) {
			return level
		}
	}
	return hclog.Off
}

// StandardLogger implements hclog.Logger.
func (l *hclogger) StandardLogger(opts *hclog.StandardLoggerOptions) *log.Logger {
	return log.New(l.StandardWriter(opts), "", 0)
}

// StandardWriter implements hclog.Logger: every write is one message.
func (l *hclogger) StandardWriter(opts *hclog.StandardLoggerOptions) io.Writer {
	level := hclog.Info
	if opts != nil && opts.ForceLevel != hclog.NoLevel {
		level = opts.ForceLevel
	}
	return lineWriter{l, level}
}

type lineWriter struct {
	to    *hclogger
	level hclog.Level
}

func (w lineWriter) Write(p []byte) (int, error) {
	w.to.Log(w.level, string(bytes.TrimRight(p, "\n")))
	return len(p), nil
}

// fields turns alternating keys and values into fields. What hclog adds for its own reader is left out:
// the time is zap's, to the moment.
func fields(args []any) []zap.Field {
	var fs []zap.Field
	for i := 0; i < len(args); i += 2 {
		key := fmt.Sprint(args[i])
		switch {
		case i+1 == len(args):
			fs = append(fs, zap.Any(hclog.MissingKey, args[i]))
		case key != "timestamp" && key != "@module":
			fs = append(fs, field(key, args[i+1]))
		}
	}
	return fs
}

func field(key string, value any) zap.Field {
	if f, ok := value.(hclog.Format); ok && len(f) > 0 {
		return zap.String(key, fmt.Sprintf(fmt.Sprint(f[0]), f[1:]...))
	}
	return zap.Any(key, value)
}

// FromHclog returns a zap.Logger that writes to to: what a job process logs with, whose lines go to its
// TaskManager as hclog's JSON. Levels above Error, panics included, become Error.
func FromHclog(to hclog.Logger) *zap.Logger { return zap.New(hclogCore{to: to}) }

type hclogCore struct {
	to     hclog.Logger
	fields []zap.Field
}

func (c hclogCore) level(l zapcore.Level) hclog.Level {
	switch {
	case l < zapcore.InfoLevel:
		return hclog.Debug
	case l == zapcore.InfoLevel:
		return hclog.Info
	case l == zapcore.WarnLevel:
		return hclog.Warn
	}
	return hclog.Error
}

// Enabled implements zapcore.Core.
func (c hclogCore) Enabled(l zapcore.Level) bool { return c.level(l) >= c.to.GetLevel() }

// With implements zapcore.Core.
func (c hclogCore) With(fs []zap.Field) zapcore.Core {
	return hclogCore{to: c.to, fields: append(slices.Clone(c.fields), fs...)}
}

// Check implements zapcore.Core.
func (c hclogCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

// Write implements zapcore.Core.
func (c hclogCore) Write(e zapcore.Entry, fs []zap.Field) error {
	encoder := zapcore.NewMapObjectEncoder()
	var keys []string
	for _, f := range slices.Concat(c.fields, fs) {
		before := len(encoder.Fields)
		f.AddTo(encoder)
		if len(encoder.Fields) == before+1 && f.Type != zapcore.InlineMarshalerType {
			keys = append(keys, f.Key)
		}
	}
	var args []any
	for _, k := range keys { // in the order in which they were given
		args = append(args, k, encoder.Fields[k])
		delete(encoder.Fields, k)
	}
	for k, v := range encoder.Fields {
		args = append(args, k, v)
	}
	c.to.Log(c.level(e.Level), e.Message, args...)
	return nil
}

// Sync implements zapcore.Core.
func (c hclogCore) Sync() error { return nil }
