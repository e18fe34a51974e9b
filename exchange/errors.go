package exchange

import "fmt"

// HeadError is the error of logits asked of an encoder whose head is no classifier, without a
// probe.
type HeadError struct{ Head string }

func (e *HeadError) Error() string {
	return fmt.Sprintf("this encoder's head (%s) is no classifier, and there is no linear probe to give logits", e.Head)
}

// OtherProbeError is the error of a linear probe that was trained on another encoder's features.
type OtherProbeError struct{ Probe, Encoder string } // SHA-256: of the probe's encoder, and of this one

func (e *OtherProbeError) Error() string {
	return fmt.Sprintf("the probe belongs to another encoder: that has the SHA-256 %s, this one %s", e.Probe, e.Encoder)
}
