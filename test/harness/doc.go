// Package harness runs clusters of real processes for the tests in test/: the programs as they are built for
// users, on loopback, each test with a directory and ports of its own. It is used by tests only, on the test's
// goroutine.
//
// Start returns when the processes exist, and at the end of the test stops them and checks that nothing is
// left: no process, temporary file, blob, checkpoint, uncommitted output, nor anything of a job in the storage
// directory or in ZooKeeper. What a test waits for it awaits by polling, with a generous deadline: nothing
// here depends on how fast a machine is. When a test has failed, the ends of all logs are printed.
//
// Environment: TAMIAS_BIN names a directory with programs to test instead of building them, TAMIAS_KEEP=1
// keeps the directories of the tests.
package harness
