package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"moco/internal/event"
	"moco/pretrain"
)

// pretrain runs a recipe and shows it. also, if not nil, is told the events too: the run is then a
// part of a longer command.
func (a *app) pretrain(ctx context.Context, o pretrain.Options, also func(event.Event)) (*pretrain.Done, error) {
	show := &trainView{screen: &a.screen, part: also != nil}
	o.Events = func(e event.Event) {
		show.event(e)
		if also != nil {
			also(e)
		}
	}
	done, err := pretrain.Run(ctx, o)
	show.bar.clear()
	if errors.Is(err, pretrain.ErrInterrupted) {
		a.say("Stopped after step %d; the run is saved. Go on with: moco train --data %s%s --out %s --resume",
			done.Step, quoted(o.DataPath), o.DataArgs, quoted(o.Out))
	}
	return done, err
}

// partEpochs is how often a part of a longer command tells of an epoch: the demo's are short.
const partEpochs = 10

// trainView shows the events of a run.
type trainView struct {
	screen *screen
	part   bool // of a longer command, whose own "done" comes last
	bar    *progress

	perEpoch int // steps
}

func (v *trainView) event(e event.Event) {
	text := func() { v.text(e) }
	if _, done := e.(pretrain.Done); done && v.part {
		v.screen.tell(nil, text)
		return
	}
	v.screen.tell(e, text)
}

// text shows an event to people.
func (v *trainView) text(e event.Event) {
	switch e := e.(type) {
	case pretrain.Start:
		v.start(e)
	case pretrain.Step:
		pace := "" // that of a process's first step would say nothing
		if e.ImagesPerSecond > 0 {
			pace = fmt.Sprintf("  %.0f images/s  %s left", e.ImagesPerSecond, left(e.SecondsLeft))
		}
		v.bar.at(e.Step, fmt.Sprintf("epoch %d  loss %.3f  accuracy %.0f%%%s", e.Epoch, e.Loss, 100*e.Accuracy, pace))
	case pretrain.Epoch:
		if !v.part || e.Epoch%partEpochs == 0 {
			v.say("epoch %d: loss %.4f, contrast accuracy %.1f%%, %.0f images/s%s",
				e.Epoch, e.Loss, 100*e.Accuracy, e.ImagesPerSecond, badImages(e.BadImages))
		}
	case pretrain.Monitor:
		if !v.part || e.Epoch%partEpochs == 0 {
			v.say("  kNN accuracy %s: %.2f%% (k %d, t %v; %.0f s)", v.when(e), e.KNNTop1, e.K, e.T, e.Seconds)
		}
	case pretrain.Warning:
		v.bar.clear()
		v.screen.warn("warning: %s", e.Message)
	case pretrain.Done:
		v.bar.clear()
		if !e.Interrupted {
			v.say("Done: %d steps in %s, %.0f images/s%s. The encoder is %s",
				e.Step, left(e.Seconds), e.ImagesPerSecond, badImages(e.BadImages), e.Encoder)
		}
	}
}

// say writes a line in the place of the bar, which the next step draws again.
func (v *trainView) say(format string, args ...any) {
	v.bar.clear()
	v.screen.say(format, args...)
}

func (v *trainView) start(e pretrain.Start) {
	v.perEpoch = e.StepsPerEpoch
	v.say("%d images; %s with %.2f million parameters on %s; "+
		"%d steps of %d images (%d an epoch); %.1f GFLOP and %d MB a step",
		e.Images, e.Arch, float64(e.Parameters)/1e6, e.Engine,
		e.Steps, e.Batch, e.StepsPerEpoch, float64(e.FLOPs)/1e9, e.PeakBytes>>20)
	if e.Processes > 1 {
		v.say("%d processes; each sends %.1f MB a step to the others.", e.Processes, float64(e.SentBytes)/1e6)
	}
	if e.FirstStep > 0 {
		v.say("Going on after step %d.", e.FirstStep)
	}
	keys := "negatives a query"
	if e.Labels {
		keys = "classes"
	}
	rises := ""
	if e.Filling > 0 {
		rises = " At first the loss rises, while the queue fills with real keys; then it should fall."
	}
	v.say("Loss at chance: %.3f (%s, %d %s).%s", e.ChanceLoss, e.Mechanism, e.Keys, keys, rises)
	first := v.bar == nil
	v.bar = v.screen.progress(e.Steps, "step")
	if v.bar != nil && first {
		v.bar.last = time.Time{} // a log shows the first loss at once
	}
}

// when tells how far training is at a monitor: it may end within an epoch.
func (v *trainView) when(e pretrain.Monitor) string {
	switch {
	case e.Step == 0:
		return "before training"
	case e.Step%v.perEpoch != 0:
		return fmt.Sprintf("after step %d", e.Step)
	}
	return fmt.Sprintf("after epoch %d", e.Epoch)
}
