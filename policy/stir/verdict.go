package stir

// Verdict is what verification of a caller's identity found. The zero value
// says that nobody looked.
type Verdict struct {
	Status      Status `json:"status,omitempty"`
	Attestation string `json:"attestation,omitempty"` // "A", "B", "C" (ATIS-1000074), "" outside SHAKEN
	Signer      string `json:"signer,omitempty"`      // subject of the certificate that signed
	Reason      string `json:"reason,omitempty"`      // why not Valid, in words
}

// Status is the outcome of a verification. Its values are the names of the
// bridge's causes, so that a refusal needs no second table.
type Status string

const (
	NotVerified           Status = ""
	Valid                 Status = "valid"
	Missing               Status = "identity-missing"
	InfoUnavailable       Status = "identity-info-unavailable"
	CredentialUnsupported Status = "identity-credential-unsupported"
	Invalid               Status = "identity-invalid"
	Mismatch              Status = "identity-mismatch"
	Stale                 Status = "identity-stale"
	NotCovered            Status = "identity-number-not-covered"
	Replayed              Status = "identity-replayed"
)
