package harness

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/go-zookeeper/zk"
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
	`storage-owner`,
}, "|") + `)$`)

// zooKeeperLeftovers lists ephemeral nodes, and nodes of jobs, below the cluster's root. Nodes of a process
// that was killed last as long as its session.
func (c *Cluster) zooKeeperLeftovers() (left []string) {
	conn, _, err := zk.Connect(c.options.ZooKeeper.Addresses(), 10*time.Second, zk.WithLogger(silent{}))
	if err != nil {
		c.t.Fatal(err)
	}
	defer conn.Close()
	root := path.Join(zooKeeperRoot, filepath.Base(c.dir))
	if !poll(func() bool { _, err = conn.Sync(root); return err == nil }) {
		c.t.Fatal(err)
	}
	poll(func() bool {
		left, err = nodesLeft(conn, root, "")
		return err == nil && (len(left) == 0 || !c.killed)
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return left
}

// nodesLeft lists what should not be there of a node, relative to root, and all below it.
func nodesLeft(conn *zk.Conn, root, node string) (left []string, err error) {
	children, stat, err := conn.Children(path.Join(root, node))
	switch {
	case errors.Is(err, zk.ErrNoNode):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("look at znode %s: %w", node, err)
	case stat.EphemeralOwner != 0:
		left = []string{"ephemeral znode " + node}
	case !znodesMayStay.MatchString(node):
		left = []string{"znode " + node}
	}
	for _, child := range children {
		below, err := nodesLeft(conn, root, path.Join(node, child))
		if err != nil {
			return nil, err
		}
		left = append(left, below...)
	}
	return left, nil
}

type silent struct{}

func (silent) Printf(string, ...any) {}
