// Package zookeeper is the HA backend on Apache ZooKeeper: haservices.Driver with one latch for each
// component, leader nodes, and fenced nodes. entrypoint makes one Driver for a process; LeaderElection,
// leader retrieval and the stores of haservices call it on any goroutine.
//
// Below the cluster's root it keeps
//
//	leaderlatch/<component>_lock                         who leads; its data version is the epoch
//	leaderlatch/<component>_lock/_c_<guid>-latch-<seq>   one ephemeral node for each contender
//	leaderlatch/<component>_resigned                     the last leader that went in order
//	leader/<component>_lock                              the confirmed leader, ephemeral
//	leader/rest_server/connection_info                   the same for Flink's own clients, in Java's bytes
//
// and whatever the stores write. Everything but connection_info is JSON that zkCli.sh shows.
//
// Safety rests on one thing only: a contender that wins sets the latch's parent node at the version that
// it read, and every later write of that leader is a transaction that also checks this version and the
// leader's own latch node. Timers, probes and watches only make things happen sooner.
//
// The client library reconnects and replaces sessions on its own. This package allows it one session for
// each zk.Conn: when a session ends, by the server's word or by our clock, its zk.Conn can never connect
// again, and all that was tied to it (latch nodes, terms) is discarded with it.
package zookeeper
