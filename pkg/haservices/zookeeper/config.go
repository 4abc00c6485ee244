package zookeeper

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/go-zookeeper/zk"
	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/id"
)

// Config says which ZooKeeper to use and how. The keys named are Flink's.
type Config struct {
	// Quorum lists the servers, host:port separated by commas; without a port 2181.
	// high-availability.zookeeper.quorum.
	Quorum string
	// Root is the cluster's node, as Root makes it from high-availability.zookeeper.path.root and
	// high-availability.cluster-id. It is created on demand.
	Root string
	// SessionTimeout is what we ask for; the server clamps it, to 2..20 ticks by default. It bounds the
	// loss of a whole host. high-availability.zookeeper.client.session-timeout; default 60 s.
	SessionTimeout time.Duration
	// ConnectionTimeout bounds how long a call waits for a connection before it is unavailable, and the
	// greeting of one server. high-availability.zookeeper.client.connection-timeout; default 15 s.
	ConnectionTimeout time.Duration
	// RetryWait is the pause after an answer that nobody expects (no permission, say), doubled up to
	// MaxRetryWait while it recurs. A broken connection is retried at once. ...client.retry-wait and
	// ...client.max-retry-wait; default 5 s and 60 s.
	RetryWait, MaxRetryWait time.Duration
	// MaxRetryAttempts is how often a read is repeated when the connection broke before its answer.
	// ...client.max-retry-attempts; default 3.
	MaxRetryAttempts int
	// ACL of every node: open (anyone, the default) or creator, which needs Authorization.
	// high-availability.zookeeper.client.acl.
	ACL string
	// Authorization maps schemes (digest) to secrets (user:password). ...client.authorization.
	Authorization map[string]string
	// TolerateSuspended lets leaders lead, and observers trust what they know, while the connection is
	// interrupted and the session may still live. ...client.tolerate-suspended-connections.
	TolerateSuspended bool
	// AwaitGone watches another process, as rpc.Transport.AwaitGone does. Without it only the end of its
	// session ends a leader.
	AwaitGone func(ctx context.Context, address string, process id.Instance, silence time.Duration) error
	// ProbeTimeout is how long the process before us in line may be silent before it is evicted.
	// high-availability.leader-probe.timeout; default 2 s.
	ProbeTimeout time.Duration
	// Log may be nil.
	Log *zap.Logger
}

const defaultPort = "2181"

// Root joins path.root and cluster-id to the path of the cluster's node; slashes may be missing or
// doubled.
func Root(pathRoot, clusterID string) string {
	parts := strings.FieldsFunc(pathRoot+"/"+clusterID, func(r rune) bool { return r == '/' })
	return "/" + strings.Join(parts, "/")
}

// withDefaults fills in what is not set and checks the rest.
func (cfg Config) withDefaults() (Config, error) {
	cfg.SessionTimeout = cmp.Or(cfg.SessionTimeout, 60*time.Second)
	cfg.ConnectionTimeout = cmp.Or(cfg.ConnectionTimeout, 15*time.Second)
	cfg.RetryWait = cmp.Or(cfg.RetryWait, 5*time.Second)
	cfg.MaxRetryWait = max(cfg.RetryWait, cmp.Or(cfg.MaxRetryWait, 60*time.Second))
	cfg.MaxRetryAttempts = cmp.Or(cfg.MaxRetryAttempts, 3)
	cfg.ProbeTimeout = cmp.Or(cfg.ProbeTimeout, 2*time.Second)
	cfg.ACL = strings.ToLower(cmp.Or(cfg.ACL, "open"))
	cfg.Root = Root(cfg.Root, "")
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	if len(cfg.servers()) == 0 {
		return cfg, fmt.Errorf("high-availability.zookeeper.quorum %q names no server: expected host:port,host:port", cfg.Quorum)
	}
	switch {
	case cfg.ACL != "open" && cfg.ACL != "creator":
		return cfg, fmt.Errorf("high-availability.zookeeper.client.acl is %q: expected open or creator", cfg.ACL)
	case cfg.ACL == "creator" && len(cfg.Authorization) == 0:
		return cfg, fmt.Errorf("high-availability.zookeeper.client.acl is creator: set ...client.authorization too, else nobody is the creator")
	case cfg.Root == "/":
		return cfg, fmt.Errorf("high-availability.zookeeper.path.root and high-availability.cluster-id are both empty")
	}
	return cfg, nil
}

// servers are host:port, each with a port.
func (cfg Config) servers() []string {
	var all []string
	for s := range strings.SplitSeq(cfg.Quorum, ",") {
		if s = strings.Join(strings.Fields(s), ""); s == "" {
			continue
		}
		if _, _, err := net.SplitHostPort(s); err != nil {
			s = net.JoinHostPort(strings.Trim(s, "[]"), defaultPort)
		}
		if !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}

func (cfg Config) acl() []zk.ACL {
	if cfg.ACL == "creator" {
		return zk.AuthACL(zk.PermAll)
	}
	return zk.WorldACL(zk.PermAll)
}
