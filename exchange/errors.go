package exchange

import "fmt"

// HeadError is the error of asking for logits where the encoder's head is no classifier and no
// probe is given.
type HeadError struct{ Head string }

func (e *HeadError) Error() string {
	return fmt.Sprintf("this encoder's head (%s) is no classifier, and there is no linear probe to give logits", e.Head)
}

// OtherProbeError is the error of a linear probe that was trained on another encoder's features.
// Probe and Encoder are SHA-256 sums: of the encoder that the probe belongs to, and of this
// encoder.
type OtherProbeError struct{ Probe, Encoder string }

func (e *OtherProbeError) Error() string {
	return fmt.Sprintf("the probe belongs to another encoder: that has the SHA-256 %s, this one %s", e.Probe, e.Encoder)
}
