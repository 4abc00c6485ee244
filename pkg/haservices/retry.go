package haservices

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/tamias-project/tamias/pkg/logging"
)

// backoff is a pause that doubles from first to most, each time shortened by up to a half at random, so
// that processes which failed together do not come back together.
type backoff struct {
	first, most time.Duration
	next        time.Duration
}

func (b *backoff) pause() time.Duration {
	b.next = min(max(b.first, b.next), b.most)
	d := b.next/2 + rand.N(b.next/2+1)
	b.next *= 2
	return d
}

func (b *backoff) reset() { b.next = 0 }

// level is debug for a short trouble and warn for one that has lasted a while.
func (b *backoff) level() zapcore.Level {
	if b.next > b.most {
		return zapcore.WarnLevel
	}
	return zapcore.DebugLevel
}

// wait pauses for d, or returns ctx's error if it ends first.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func newRetryBackoff() backoff { return backoff{first: 10 * time.Millisecond, most: time.Second} }

// retry repeats f while the backend is unavailable and ctx lasts. f has no effect when it fails so.
func retry(ctx context.Context, log *zap.Logger, path string, f func() error) error {
	b := newRetryBackoff()
	for {
		err := f()
		if !errors.Is(err, ErrUnavailable) {
			return err
		}
		pause := b.pause()
		log.Log(b.level(), "HA backend unavailable", logging.Znode(path), logging.RetryIn(pause), zap.Error(err))
		if waitErr := wait(ctx, pause); waitErr != nil {
			return errors.Join(waitErr, err)
		}
	}
}
