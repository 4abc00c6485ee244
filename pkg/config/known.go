package config

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// flinkKeys lists Flink's keys with their old spellings, one option a line.
//
//go:embed flink_keys.txt
var flinkKeys string

// families are prefixes below which Flink has more keys than it is worth to list, or the user names keys.
// They are accepted and not used.
var families = []string{
	"yarn.", "kubernetes.", "containerized.", "metrics.reporter.", "env.java.", "env.hadoop.", "env.yarn.",
	"env.hbase.", "akka.", "pekko.", "state.backend.rocksdb.", "state.backend.forst.", "jobmanager.memory.",
	"taskmanager.memory.", "table.", "python.", "sql-gateway.", "sql-client.", "historyserver.",
	"s3.", "s3a.", "fs.", "security.", "zookeeper.", "pipeline.global-job-parameters.",
}

// known tells of each known key what it stands for: the proper key where it is an old spelling, else itself.
var known = sync.OnceValue(func() map[string]string {
	keys := map[string]string{}
	for line := range strings.Lines(flinkKeys) {
		if names := strings.Fields(line); len(names) > 0 {
			for _, name := range names {
				keys[name] = names[0]
			}
		}
	}
	for _, o := range registry {
		d := o.description()
		for _, old := range d.Older {
			keys[old] = d.Key
		}
		keys[d.Key] = d.Key
	}
	return keys
})

// used tells which keys an option of this package reads.
var used = sync.OnceValue(func() map[string]bool {
	keys := map[string]bool{}
	for _, o := range registry {
		d := o.description()
		for _, key := range slices.Concat([]string{d.Key}, d.Fallback, d.Older) {
			keys[key] = true
		}
	}
	return keys
})

// unknownKeys warns of keys that nobody knows, and quietly of those that only Flink uses.
func unknownKeys(settings []Setting) []Warning {
	var warnings []Warning
	for _, s := range settings {
		switch {
		case used()[s.Key] || belowMap(s.Key):
		case known()[s.Key] != "" || inFamily(s.Key):
			warnings = append(warnings, Warning{Place: s.Place, Key: s.Key, Text: "is a key of Flink that is accepted and not used", Quiet: true})
		case isGroup(s.Key):
			warnings = append(warnings, Warning{Place: s.Place, Key: s.Key, Text: "is a group of keys and takes no value of its own" + missingBlank(s.Value)})
		default:
			w := Warning{Place: s.Place, Key: s.Key, Text: "is an unknown key"}
			if near := nearest(s.Key); near != "" {
				w.Text += fmt.Sprintf("; did you mean %s?", near)
			}
			warnings = append(warnings, w)
		}
	}
	return warnings
}

// isGroup reports whether there are keys below key, as below rest, and it is none itself.
func isGroup(key string) bool {
	for name := range known() {
		if strings.HasPrefix(name, key+".") {
			return true
		}
	}
	return false
}

// belowMap reports whether key is an entry of an option that is a map.
func belowMap(key string) bool {
	for _, o := range registry {
		if d := o.description(); d.Type == dictionary.name && strings.HasPrefix(key, d.Key+".") {
			return true
		}
	}
	return false
}

func inFamily(key string) bool {
	return slices.ContainsFunc(families, func(prefix string) bool { return strings.HasPrefix(key, prefix) })
}

// nearest is the known key with the fewest edits to key, or "" when none is near. Of old spellings it names
// the proper one.
func nearest(key string) string {
	limit := 2 + len(key)/10
	best, distance := "", limit+1
	for name, proper := range known() {
		d := editDistance(strings.ToLower(key), strings.ToLower(name), distance)
		if d < distance || d == distance && d <= limit && proper < best {
			best, distance = proper, d
		}
	}
	return best
}

// editDistance is the Levenshtein distance of a and b in bytes; where it exceeds limit, any larger number.
func editDistance(a, b string, limit int) int {
	if d := len(a) - len(b); d > limit || -d > limit {
		return limit + 1
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		smallest := row[0]
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
			smallest = min(smallest, row[j+1])
		}
		if smallest > limit {
			return limit + 1
		}
	}
	return row[len(b)]
}
