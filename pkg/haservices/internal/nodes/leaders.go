package nodes

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
)

// Leader is the content of leader/<component>_lock: the confirmed leader.
type Leader struct {
	Address string               `json:"address"`
	Token   id.FencingToken      `json:"leader-session-id"`
	Epoch   uint64               `json:"epoch"`
	Since   time.Time            `json:"since"`
	Leader  haservices.Contender `json:"leader"`
	Owner   Process              `json:"os-process"`
}

// Leaders publishes leaders as files of a tree, and follows them.
type Leaders struct {
	tree   *Tree
	events *Events
	poll   time.Duration
	log    *zap.Logger

	observationsMu sync.Mutex
	observations   map[haservices.Component]*observation
}

// NewLeaders returns the leaders of a tree. Observers look at least once in each poll.
func NewLeaders(t *Tree, e *Events, poll time.Duration, log *zap.Logger) *Leaders {
	return &Leaders{tree: t, events: e, poll: poll, log: log, observations: map[haservices.Component]*observation{}}
}

// Readable is a record as an operator likes to see it in a file: one member a line.
func Readable(record []byte) []byte {
	var b bytes.Buffer
	if json.Indent(&b, record, "", "  ") != nil {
		return record
	}
	b.WriteByte('\n')
	return b.Bytes()
}

func leaderNode(c haservices.Component) string { return "leader/" + c.Path() }

// Published reads what the leader of c published: ErrNotFound if nothing.
func (l *Leaders) Published(c haservices.Component) (Leader, error) {
	n, err := l.tree.Read(leaderNode(c))
	if err != nil {
		return Leader{}, err
	}
	var leader Leader
	if err := haservices.DecodeRecord(n.Data, &leader); err != nil {
		return Leader{}, fmt.Errorf("%s: %w", l.tree.File(leaderNode(c)), err)
	}
	return leader, nil
}

// Publish makes this process the confirmed leader of c. Its caller has checked the fence. It is not
// durable, as a power cut ends the leader too.
func (l *Leaders) Publish(c haservices.Component, me haservices.Contender, token id.FencingToken, address string) error {
	if now, err := l.Published(c); err == nil && now.Token == token && now.Address == address {
		return nil
	}
	leader := Leader{Address: address, Token: token, Epoch: token.Epoch(), Since: time.Now(), Leader: me, Owner: Self()}
	return l.tree.Replace(l.tree.File(leaderNode(c)), Readable(haservices.EncodeRecord(leader)), false)
}

// Withdraw removes the published leader of c if its token is that one, or any if token is nil. One that
// cannot be removed, or comes back after a power cut, is harmless: its epoch is over, and the next Publish
// replaces it.
func (l *Leaders) Withdraw(c haservices.Component, token *id.FencingToken) {
	now, err := l.Published(c)
	if err == nil && token != nil && now.Token != *token || errors.Is(err, haservices.ErrNotFound) {
		return
	}
	if err := os.Remove(l.tree.File(leaderNode(c))); err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.log.Warn("leader information of an ended term stays for now", zap.Error(err))
	}
}
