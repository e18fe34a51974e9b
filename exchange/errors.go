package exchange

import "fmt"

// HeadError is the error of asking for logits where the encoder's head is no classifier and no
// probe is given.
type HeadError struct{ Head string }

func (e *HeadError) Error() string {
	return fmt.Sprintf("this encoder's head (%s) is no classifier, and there is no linear probe to give logits", e.Head)
}
