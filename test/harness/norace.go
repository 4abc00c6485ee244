//go:build !race

package harness

const raceEnabled, raceFactor = false, 0
