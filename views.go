package moco

import "moco/augment"

// Drawn is how views are drawn: the named policy at the size, or only its crop and flip.
func (v Views) Drawn() (augment.Policy, error) {
	p, err := augment.Named(v.Policy, v.Size)
	if v.CropOnly {
		p = p.CropAndFlip()
	}
	return p, err
}
