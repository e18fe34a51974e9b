package moco

func checkPolicy(v Views) error { return nil }
