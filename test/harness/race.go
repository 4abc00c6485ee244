//go:build race

package harness

const raceEnabled, raceFactor = true, 1
