package daemon

import (
	"io"
	"runtime/debug"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/tamias-project/tamias/pkg/config"
)

// newLogger writes lines for people: time, level, message, fields.
func newLogger(w io.Writer, level string) *zap.Logger {
	encoding := zap.NewDevelopmentEncoderConfig()
	encoding.EncodeTime = func(t time.Time, enc zapcore.PrimitiveArrayEncoder) {
		enc.AppendString(t.Format("2006-01-02 15:04:05,000"))
	}
	encoding.EncodeLevel = func(l zapcore.Level, enc zapcore.PrimitiveArrayEncoder) {
		enc.AppendString((l.CapitalString() + "  ")[:5])
	}
	encoding.EncodeDuration = func(d time.Duration, enc zapcore.PrimitiveArrayEncoder) { enc.AppendString(readable(d).String()) }
	encoding.ConsoleSeparator = " "
	encoding.CallerKey, encoding.StacktraceKey = "", ""
	core := zapcore.NewCore(zapcore.NewConsoleEncoder(encoding), zapcore.Lock(zapcore.AddSync(w)), zapLevel(level))
	return zap.New(core)
}

// readable is d with three or four significant digits: nobody reads more.
func readable(d time.Duration) time.Duration {
	unit := time.Duration(1)
	for d.Abs() >= 10_000*unit {
		unit *= 10
	}
	return d.Round(unit)
}

func zapLevel(level string) zapcore.Level {
	switch level {
	case config.LogTrace, config.LogDebug:
		return zap.DebugLevel
	case config.LogWarn:
		return zap.WarnLevel
	case config.LogError:
		return zap.ErrorLevel
	case config.LogOff:
		return zapcore.InvalidLevel // above every level there is
	}
	return zap.InfoLevel
}

// revision is the commit that the binary was built from, as far as the build recorded it.
func revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 7 {
			return s.Value[:7]
		}
	}
	return "unknown"
}
