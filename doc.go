// Package moco is Momentum Contrast (He, Fan, Wu, Xie, Girshick: "Momentum Contrast for Unsupervised
// Visual Representation Learning", CVPR 2020), and the root of a library that trains image encoders
// with it on the CPU.
//
// This package is the paper. To see how it learns, start with step.go: it is Algorithm 1. The
// mechanisms that the paper compares are in queue.go, batch.go, bank.go and supervised.go, and v3.go
// is Algorithm 1 of MoCo v3 (Chen, Xie, He, ICCV 2021).
// network.go has the two encoders with the momentum update, shuffle.go shuffled BN, loss.go the
// losses, and run.go the step as a program runs it. A Recipe holds the settings.
//
//	recipe := moco.Default()
//	state := engine.NewState()
//	step, err := moco.Compile(&recipe, recipe.Batch, engine, state)
//	err = moco.Initialise(&recipe, state, nil)
//	// for each batch: fill step.Batch(), then
//	metrics, err := step.Run(moco.Progress{Step: n, StepsPerEpoch: perEpoch})
//
// Package pretrain does all of that with data, checkpoints and a log; most callers want it, or the
// command moco. To use a trained encoder, package encoder is enough.
//
// Some names of variables are part of the checkpoint format and stay: "encoder_q." and "encoder_k."
// before torchvision's or timm's names, "predictor.", "queue", "queue_pointer", "queue_ids", "sgd."
// and "adam.". Everything random follows from Recipe.Seed: the same recipe, data, binary and processor
// features give the same bits.
package moco
