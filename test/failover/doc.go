// Package failover tests what jobs notice when processes die, freeze or are started again: nothing, or a
// restart of what has died, and never a record that is lost or repeated.
package failover
