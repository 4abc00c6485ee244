package entrypoint

import "golang.org/x/sys/unix"

// physicalMemory of this machine in bytes, 0 if the kernel does not say.
func physicalMemory() int64 {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return 0
	}
	return int64(info.Totalram) * int64(info.Unit)
}
