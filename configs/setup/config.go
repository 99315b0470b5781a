package setup

import (
	"bytes"
	_ "embed"
	"fmt"
	"path/filepath"
	"text/template"

	"riptide/policy"
)

// ConfigFile is the configuration's name in the directory.
const ConfigFile = "riptide.yaml"

// Starter is what a first configuration says.
type Starter struct {
	Node      string
	SIP       string // address to listen on
	Listen    string // address of the RIPT server
	Authority string // host:port as peers write it
	Numbers   []policy.Pattern
}

//go:embed starter.yaml.tmpl
var starterText string

var starterTemplate = template.Must(template.New("starter").Parse(starterText))

// Text is the first configuration, to be judged before anything is written.
func (s Starter) Text() ([]byte, error) {
	var b bytes.Buffer
	if err := starterTemplate.Execute(&b, s); err != nil {
		return nil, fmt.Errorf("write the first configuration: %w", err)
	}
	return b.Bytes(), nil
}

// WriteConfig writes a Starter's text as ConfigFile into dir, which holds the
// files of Create.
func WriteConfig(dir string, text []byte) error {
	return writeNew(filepath.Join(dir, ConfigFile), text, 0o644)
}
