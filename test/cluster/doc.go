// Package cluster tests what users do with a cluster whose processes are well: jobs run, fail by their own
// fault, are cancelled, and leave nothing behind.
package cluster
