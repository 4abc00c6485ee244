// Package upgrade replaces the JobManagers of a running cluster one by one by those of another build, and goes
// back again, with real processes and a job whose output can be checked record by record. The second build
// is this tree with a newer protocol version and with more members in messages and stored records. The job must not
// notice: no task restarts, no record is lost or repeated. TaskManagers come last, as each costs a restart of
// what it ran.
package upgrade
