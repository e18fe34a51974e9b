package moco

import "moco/augment"

// checkPolicy says whether views can be made as the recipe wants them.
func checkPolicy(v Views) error {
	_, err := augment.Named(v.Policy, v.Size)
	return err
}
