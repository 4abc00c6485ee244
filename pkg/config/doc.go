// Package config reads the configuration of a process: conf/config.yaml or flink-conf.yaml, under Flink's
// keys and their old spellings, and the -D key=value properties of the command line on top.
//
// Load returns one immutable Configuration. It has read and checked every option of this package, so
// Option.In cannot fail and may be called from any goroutine. What is wrong with a value is an error that
// names file, line and what was expected; all errors are reported together. What can be lived with (an
// unknown key, an old spelling, a line of flink-conf.yaml that is no pair) is a Warning.
//
// Which file: config.yaml if it exists, else flink-conf.yaml; neither is an error. Where both exist,
// flink-conf.yaml is ignored with a warning, as in Flink 2.
//
//   - config.yaml is YAML. Nested maps are flattened with dots, flat dotted keys may stand beside them; a
//     key that is set twice, whichever way it is spelled, is an error with both lines, and so are two keys
//     that differ only in case. Values are the text that was written: 1.10 stays 1.10.
//   - flink-conf.yaml is read line by line by Flink's own rules: everything from the first # is cut, a pair
//     is split at the first colon that a blank follows, a repeated key takes its last value. A wrong line is
//     a warning, never an error.
//
// An option takes the value of its own key, else of the options it falls back to, else of its old
// spellings, else its default. The command line wins over the file key by key.
package config
