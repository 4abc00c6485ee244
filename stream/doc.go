// Package stream is what job authors import: typed operators on unbounded and bounded streams.
package stream
