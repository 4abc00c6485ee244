package harness

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/tamias-project/tamias/internal/testkit/zkserver"
)

// zooKeeperRoot is high-availability.zookeeper.path.root of test clusters.
const zooKeeperRoot = "/tamias-test"

// znodesMayStay are the nodes that a cluster without jobs and processes leaves, relative to its root.
var znodesMayStay = regexp.MustCompile(`^(|` + strings.Join([]string{
	`leaderlatch(/(resource_manager|dispatcher|rest_server)_(lock|resigned))?`,
	`leader(/rest_server)?`,
	`jobgraphs`, `jobs`,
	`job-results(/[0-9a-f]{32})?`,
	`leadership(/history)?`,
}, "|") + `)$`)

// zooKeeperLeftovers lists ephemeral nodes, and nodes of jobs, below a cluster's root.
func zooKeeperLeftovers(t testing.TB, e *zkserver.Ensemble, clusterID string) (left []string) {
	if e == nil {
		return nil
	}
	root := path.Join(zooKeeperRoot, clusterID)
	conn, _, err := zk.Connect(e.Addresses(), 10*time.Second, zk.WithLogger(silent{}))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Sync(root); err != nil && !errors.Is(err, zk.ErrNoNode) {
		t.Fatal(err)
	}
	var walk func(node string)
	walk = func(node string) {
		children, stat, err := conn.Children(node)
		if err != nil {
			left = append(left, fmt.Sprintf("znode %s: %v", node, err))
			return
		}
		relative := strings.TrimPrefix(strings.TrimPrefix(node, root), "/")
		if stat.EphemeralOwner != 0 {
			left = append(left, "ephemeral znode "+node)
		} else if !znodesMayStay.MatchString(relative) {
			left = append(left, "znode "+node)
		}
		for _, child := range children {
			walk(path.Join(node, child))
		}
	}
	walk(root)
	return left
}

type silent struct{}

func (silent) Printf(string, ...any) {}
