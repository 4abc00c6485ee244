// Package archtest holds the rules of the tree as tests: which package may import which, that every
// package says what it is for, that every RPC is fenced, and a few things that are never done. Its tests
// read source files as text and run nothing.
package archtest
