package drill

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// links are relays of the drill's own between the processes of a local cluster: one for each JobManager or
// TaskManager and each ZooKeeper server, and one for each JobManager through which all others reach it.
//
// A JobManager listens at 127.0.0.1 and announces an address of its own, 127.0.1.N, at which a relay listens
// at the same port. What a JobManager connects to itself does not pass its own relay: its calls to
// TaskManagers cannot be cut.
type links struct {
	zooKeeper []string // addresses of the servers; empty without ZooKeeper
	// inbound: there is a relay in front of each JobManager.
	inbound bool

	mu       sync.Mutex          // guards all below
	toServer map[string][]*relay // by the process's name, "jobmanager 0"
	toMaster map[string]*relay   // by the JobManager's announced address, host:port
}

func newLinks(zooKeeper []string, inbound bool) *links {
	return &links{zooKeeper: zooKeeper, inbound: inbound, toServer: map[string][]*relay{}, toMaster: map[string]*relay{}}
}

// arguments lead a process to ZooKeeper through relays of its own. For localcluster.Config.
func (l *links) arguments(kind string, number int) []string {
	if len(l.zooKeeper) == 0 {
		return nil
	}
	var relays []*relay
	var addresses []string
	for _, server := range l.zooKeeper {
		r, err := startRelay("127.0.0.1:0", server)
		if err != nil { // no port is left: the process will say that it cannot connect
			continue
		}
		relays, addresses = append(relays, r), append(addresses, r.address())
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.toServer[fmt.Sprintf("%s %d", kind, number)] = relays
	return []string{"-D", "high-availability.zookeeper.quorum=" + strings.Join(addresses, ",")}
}

// host puts a relay in front of a JobManager. For localcluster.Config.
func (l *links) host(number int, listens string) (string, error) {
	if !l.inbound {
		host, _, err := net.SplitHostPort(listens)
		return host, err
	}
	host := fmt.Sprintf("127.0.%d.%d", 1+number/200, 1+number%200)
	_, port, err := net.SplitHostPort(listens)
	if err != nil {
		return "", err
	}
	r, err := startRelay(net.JoinHostPort(host, port), listens)
	if err != nil {
		return "", fmt.Errorf("%w: a relay in front of a JobManager needs addresses 127.0.x.y, as Linux has them: %w", errUnsupported, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.toMaster[r.address()] = r
	return host, nil
}

// cutFromZooKeeper cuts one process off from all servers, until heal.
func (l *links) cutFromZooKeeper(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.toServer[name] {
		r.sever(func(net.Addr) bool { return true })
	}
}

// cutFromMaster cuts processes off from the JobManager that announces that address, until heal. Connections
// that it has opened itself stay.
func (l *links) cutFromMaster(address string, callers []int) error {
	l.mu.Lock()
	r := l.toMaster[address]
	l.mu.Unlock()
	if r == nil {
		return fmt.Errorf("no relay is in front of the JobManager at %s", address)
	}
	owners := &portOwners{candidates: callers, known: map[int]bool{}}
	r.sever(owners.own)
	return nil
}

// heal ends all cuts.
func (l *links) heal() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, relays := range l.toServer {
		for _, r := range relays {
			r.sever(nil)
		}
	}
	for _, r := range l.toMaster {
		r.sever(nil)
	}
}

// closed ends the relays of a process that has ended: its address refuses connections again.
func (l *links) closed(name, address string) {
	l.mu.Lock()
	relays := l.toServer[name]
	if r := l.toMaster[address]; r != nil {
		relays = append(slices.Clone(relays), r)
	}
	delete(l.toServer, name)
	delete(l.toMaster, address)
	l.mu.Unlock()
	for _, r := range relays {
		r.close()
	}
}

func (l *links) close() {
	l.mu.Lock()
	var all []*relay
	for _, relays := range l.toServer {
		all = append(all, relays...)
	}
	for _, r := range l.toMaster {
		all = append(all, r)
	}
	clear(l.toServer)
	clear(l.toMaster)
	l.mu.Unlock()
	for _, r := range all {
		r.close()
	}
}

// closeWith ends the relays of a process when it ends.
func (l *links) closeWith(ctx context.Context, p interface{ Done() <-chan struct{} }, name, address string) {
	select {
	case <-p.Done():
		l.closed(name, address)
	case <-ctx.Done():
	}
}

// portOwners finds out whether a TCP connection on this machine was opened by one of some processes, by /proc.
type portOwners struct {
	candidates []int

	mu    sync.Mutex   // guards known
	known map[int]bool // by local port
}

func (o *portOwners) own(caller net.Addr) bool {
	tcp, ok := caller.(*net.TCPAddr)
	if !ok {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	yes, known := o.known[tcp.Port]
	if !known {
		yes = o.find(tcp)
		o.known[tcp.Port] = yes
	}
	return yes
}

func (o *portOwners) find(caller *net.TCPAddr) bool {
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return false
	}
	inode, err := inodeOf(string(table), caller)
	if err != nil {
		return false
	}
	for _, pid := range o.candidates {
		dir := fmt.Sprintf("/proc/%d/fd", pid)
		files, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, f := range files {
			if to, err := os.Readlink(dir + "/" + f.Name()); err == nil && to == "socket:["+inode+"]" {
				return true
			}
		}
	}
	return false
}

var errNoConnection = errors.New("no such connection")

// inodeOf finds the socket whose own address is local in the text of /proc/net/tcp: "sl local_address
// rem_address st tx:rx tr:when retrnsmt uid timeout inode", addresses in hexadecimal, IP bytes backwards.
func inodeOf(table string, local *net.TCPAddr) (string, error) {
	ip := slices.Clone(local.IP.To4())
	slices.Reverse(ip)
	want := strings.ToUpper(hex.EncodeToString(ip)) + ":" + strings.ToUpper(fmt.Sprintf("%04x", local.Port))
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if len(fields) > 9 && fields[1] == want {
			if _, err := strconv.ParseUint(fields[9], 10, 64); err == nil && fields[9] != "0" {
				return fields[9], nil
			}
		}
	}
	return "", errNoConnection
}
