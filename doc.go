// Package moco is Momentum Contrast (He, Fan, Wu, Xie, Girshick: "Momentum Contrast for Unsupervised Visual Representation Learning",
// CVPR 2020), and the root of a library that trains image encoders with it on the CPU.
//
// To use a trained encoder, call Open on what training wrote, and Embed on images; see the example.
//
// To see how it learns, start with Step, in step.go: it is the paper's Algorithm 1. A Recipe holds the knobs; Initialise writes where training starts;
// Features is the trained encoder for inference. They make graphs (package graph), which an engine (package engine, for instance engine/cpu)
// compiles and runs:
//
//	recipe := moco.Default()
//	step, err := moco.Step(&recipe, recipe.Batch)
//	state := engine.NewState()
//	program, err := engine.Compile(step, state)
//	err = moco.Initialise(&recipe, state)
//	// fill program.Input("x1"), ... and call program.Run() for each batch
//
// Package pretrain does all of that with data, checkpoints and a log; most callers want it, or the command moco.
//
// The names of variables, "encoder_q." and "encoder_k." before torchvision's names, "queue", "queue_pointer", "queue_ids" and "sgd.", are
// part of the checkpoint format and stay. Everything random follows from Recipe.Seed: the same recipe, data, binary and processor
// features give the same bits.
package moco
