// Programs that the checks and tests run, at versions that do not move by
// themselves. A module of its own: none of this is part of the product.
module riptide/scripts/tools

go 1.26.0

tool (
	github.com/asipto/secsipidx
	golang.org/x/vuln/cmd/govulncheck
)

require (
	github.com/asipto/secsipidx v1.3.2 // indirect
	github.com/google/uuid v1.4.0 // indirect
	golang.org/x/mod v0.42.0 // indirect
	golang.org/x/sync v0.24.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/telemetry v0.0.0-20261010193011-f71dc92da45e // indirect
	golang.org/x/tools v0.52.0 // indirect
	golang.org/x/vuln v1.9.0 // indirect
)
