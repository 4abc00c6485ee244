// Package docs runs the commands that README.md and the files in docs/ tell readers to type.
package docs
