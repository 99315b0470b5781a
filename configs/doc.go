// Package configs is the configuration: its schema, its defaults, its loader,
// and example files (*.yaml beside this file), each loaded by a test.
//
// One YAML file says everything. It is read strictly: every mistake in it is
// reported, not only the first, with file, line, column, what is wrong and
// what mends it. An unknown key is a mistake, and so is a private key that
// everybody may read. There is no key that turns a check or a verification
// off.
//
// It knows number patterns (package policy) and nothing else of ours: what a
// trunk means is for main to hand on.
//
//	file --> Parse: syntax, keys, values, references --> Load: keys and certificates --> *Config | Problems
package configs
