package drill

import (
	"os"
	"strconv"
	"strings"
)

// load is the machine's load average over the last minute, 0 where /proc does not tell: times mean little on a
// machine that has more to do than it can.
func load() float64 {
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(data), " ")
	v, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return 0
	}
	return v
}
