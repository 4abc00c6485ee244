// Package logging spells the keys of log fields once, and gives go-plugin an hclog.Logger that writes to
// zap. Loggers are passed in; nothing here is global.
package logging

import (
	"time"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/id"
)

// Component names the part of the system that logs.
func Component(name string) zap.Field { return zap.String("component", name) }

// Job is the field job-id.
func Job(j id.Job) zap.Field { return zap.Stringer("job-id", j) }

// TaskManager is the field task-manager-id.
func TaskManager(t id.TaskManager) zap.Field { return zap.String("task-manager-id", string(t)) }

// Allocation is the field allocation-id.
func Allocation(a id.Allocation) zap.Field { return zap.Stringer("allocation-id", a) }

// Attempt is the field execution-attempt-id.
func Attempt(e id.ExecutionAttempt) zap.Field { return zap.Stringer("execution-attempt-id", e) }

// Vertex is the field vertex-id.
func Vertex(v id.Vertex) zap.Field { return zap.Stringer("vertex-id", v) }

// Checkpoint is the field checkpoint-id.
func Checkpoint(n int64) zap.Field { return zap.Int64("checkpoint-id", n) }

// Token is the fields fencing-token and epoch.
func Token(t id.FencingToken) zap.Field {
	return zap.Inline(tokenFields{t})
}

// Leader is the field leader-address.
func Leader(address string) zap.Field { return zap.String("leader-address", address) }

// Znode is the field znode.
func Znode(path string) zap.Field { return zap.String("znode", path) }

// Took is the field took: how long something lasted.
func Took(d time.Duration) zap.Field { return zap.Duration("took", d) }

// RetryIn is the field retry-in.
func RetryIn(d time.Duration) zap.Field { return zap.Duration("retry-in", d) }
