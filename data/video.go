package data

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"math"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"

	"moco/picture"
)

// video is the noun for groups of frames.
const video = "video"

// videoExtensions are the files that ffmpeg is asked to read.
const videoExtensions = ".mp4 .m4v .mov .mkv .webm .avi .mpg .mpeg .wmv .flv .3gp .ogv"

// DefaultFPS is how many frames a second are taken from a video file.
const DefaultFPS = 5

// frameEdge is the shorter side, in pixels, that frames of larger video files are made smaller to; maxFrameBytes is what all of them may take on disk.
const (
	frameEdge     = 256
	maxFrameBytes = 32 << 30
)

func isVideoName(name string) bool {
	ext := strings.ToLower(path.Ext(name))
	return ext != "" && slices.Contains(strings.Fields(videoExtensions), ext)
}

// frame is one image of a set of videos.
type frame struct {
	name  string
	video int // in the list of videos
	box   *container
	file  entry
	at    int // of an animated GIF, the number of the frame; else -1
	bytes int64
	err   error // why the video cannot be read
}

// clip is a video while it is being found.
type clip struct {
	name   string // its path: a folder's, or a file's
	frames []frame
	broken bool
}

// openFrames makes a set of the frames of the videos in a container, nil if there are none. A video is a folder of images, an animated GIF or a video
// file. The videos take the place that images have in other sets: their paths say what is a class and what is a part.
func openFrames(ctx context.Context, box *container, opts Options) (_ *Set, err error) {
	clips := map[string]*clip{}
	add := func(name string, frames ...frame) {
		if clips[name] == nil {
			clips[name] = &clip{name: name}
		}
		clips[name].frames = append(clips[name].frames, frames...)
	}
	skipped := ignored{hidden: box.hidden}
	var files []entry
	for _, e := range box.entries {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		switch {
		case isVideoName(e.name):
			files = append(files, e)
		case strings.EqualFold(path.Ext(e.name), ".gif"):
			content, err := box.read(e, nil)
			n := 0
			if err == nil {
				n, err = picture.Frames(content)
			}
			switch {
			case err != nil:
				add(e.name, frame{name: "0", at: -1, err: err, bytes: e.size})
				clips[e.name].broken = true
			case n == 1: // a still image like others
				add(path.Dir(e.name), frame{name: path.Base(e.name), box: box, file: e, at: -1, bytes: e.size})
			default:
				for k := range n {
					add(e.name, frame{name: fmt.Sprintf("%06d", k), box: box, file: e, at: k})
				}
				clips[e.name].frames[0].bytes = e.size
			}
		case isImageName(e.name):
			add(path.Dir(e.name), frame{name: path.Base(e.name), box: box, file: e, at: -1, bytes: e.size})
		default:
			if skipped.other == 0 {
				skipped.example = e.name
			}
			skipped.other++
		}
	}
	v := &videoFrames{box: box, options: opts.picture(), fps: opts.FPS}
	defer func() {
		if err != nil {
			os.RemoveAll(v.unpacked)
		}
	}()
	if len(files) > 0 {
		if err := v.unpack(ctx, files, opts, add); err != nil {
			return nil, err
		}
		for _, f := range files {
			clips[f.name].broken = clips[f.name].frames[0].err != nil
		}
	}
	if len(clips) == 0 {
		return nil, nil
	}
	list := make([]*clip, 0, len(clips))
	for _, c := range clips {
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b *clip) int { return cmp.Compare(a.name, b.name) })
	paths := make([]string, len(list))
	for i, c := range list {
		paths[i] = c.name
	}
	lay := arrange(paths, opts.Part)
	if len(lay.keep) == 0 {
		return nil, fmt.Errorf("this %s has no %s part", box.what, opts.Part)
	}
	for k, i := range lay.keep {
		for _, f := range list[i].frames {
			f.video, f.name = k, path.Join(lay.names[k], f.name)
			v.frames = append(v.frames, f)
		}
	}
	slices.SortStableFunc(v.frames, func(a, b frame) int { return cmp.Compare(a.name, b.name) })

	s := &Set{kind: "videos", classes: lay.classes, ignored: skipped, backend: v}
	if lay.labels != nil {
		s.kind = "videos in class folders"
	}
	groups := make([]group, len(lay.keep))
	for k, i := range lay.keep {
		groups[k].name, groups[k].damaged = lay.names[k], list[i].broken
	}
	for i, f := range v.frames {
		s.names = append(s.names, f.name)
		if lay.labels != nil {
			s.labels = append(s.labels, lay.labels[f.video])
		}
		groups[f.video].members = append(groups[f.video].members, i)
	}
	for _, g := range groups {
		slices.SortFunc(g.members, func(a, b int) int { return natural(s.names[a], s.names[b]) })
	}
	s.setGroups(video, groups)
	return s, nil
}

// unpack has ffmpeg write the frames of video files to a temporary folder, where they lie until the set is closed: so any of them can be read at any
// time, and is the same each time.
func (v *videoFrames) unpack(ctx context.Context, files []entry, opts Options, add func(string, ...frame)) error {
	first := files[0].name
	if v.box.root == "" {
		return fmt.Errorf("%s is a video inside of an archive, which cannot be read there; unpack the archive", first)
	}
	ffmpeg, err := exec.LookPath("ffmpeg")
	if err != nil {
		return fmt.Errorf("%s is a video file, and reading it takes ffmpeg, which is not installed; install it, or give a folder of frames for each video", first)
	}
	if v.unpacked, err = os.MkdirTemp("", "moco-frames-*"); err != nil {
		return fmt.Errorf("make a folder for the frames of videos: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	failures := make([]error, len(files))
	var mu sync.Mutex
	var workers sync.WaitGroup
	next, done, total := 0, 0, int64(0)
	for range min(runtime.GOMAXPROCS(0), len(files)) {
		workers.Go(func() {
			for {
				mu.Lock()
				k := next
				next++
				mu.Unlock()
				if k >= len(files) || ctx.Err() != nil {
					return
				}
				size, err := unpackOne(ctx, ffmpeg, filepath.Join(v.box.root, filepath.FromSlash(files[k].name)), v.folder(k), opts.FPS)
				mu.Lock()
				failures[k] = err
				done, total = done+1, total+size
				if total > maxFrameBytes {
					cancel(fmt.Errorf("the frames of the first %d of %d videos take more than the %d GiB that they may have in %s; take fewer frames a second", done, len(files), maxFrameBytes>>30, os.TempDir()))
				}
				if opts.Progress != nil {
					opts.Progress(done, len(files))
				}
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	pictures, err := openFolder(ctx, v.unpacked)
	if err != nil {
		return fmt.Errorf("list the frames of videos: %w", err)
	}
	for _, e := range pictures.entries {
		k, err := strconv.Atoi(path.Dir(e.name))
		if err == nil && failures[k] == nil {
			f := frame{name: path.Base(e.name), box: pictures, file: e, at: -1}
			if f.name == "000001.png" {
				f.bytes = files[k].size
			}
			add(files[k].name, f)
		}
	}
	for k, err := range failures {
		if err != nil {
			add(files[k].name, frame{name: "0", at: -1, err: err, bytes: files[k].size})
		}
	}
	return nil
}

// folder is where the frames of video file k lie.
func (v *videoFrames) folder(k int) string { return filepath.Join(v.unpacked, fmt.Sprintf("%06d", k)) }

// unpackOne writes the frames of one video to a new folder and returns the bytes that they take.
func unpackOne(ctx context.Context, ffmpeg, file, to string, fps float64) (int64, error) {
	if err := os.Mkdir(to, 0o755); err != nil {
		return 0, err
	}
	scale := fmt.Sprintf("fps=%v,scale=w='if(gt(iw,ih),-1,min(%d,iw))':h='if(gt(iw,ih),min(%d,ih),-1)'", fps, frameEdge, frameEdge)
	// Only local files: what is named like a video may be a list of addresses. The plain decoders, so that every machine sees the same.
	c := exec.CommandContext(ctx, ffmpeg, "-nostdin", "-loglevel", "error", "-protocol_whitelist", "file", "-threads", "1", "-i", "file:"+file,
		"-map", "0:v:0", "-vf", scale, "-pix_fmt", "rgb24", "-flags", "+bitexact", "-sws_flags", "bicubic+accurate_rnd+bitexact", filepath.Join(to, "%06d.png"))
	var said bytes.Buffer
	c.Stderr = &said
	err := c.Run()
	list, listErr := os.ReadDir(to)
	if listErr != nil {
		return 0, listErr
	}
	var size int64
	for _, item := range list {
		if info, err := item.Info(); err == nil {
			size += info.Size()
		}
	}
	if err != nil || len(list) == 0 {
		why, _, _ := strings.Cut(strings.TrimSpace(said.String()), "\n")
		if why == "" && err != nil {
			why = err.Error()
		}
		return size, fmt.Errorf("ffmpeg cannot read the video (%s)", cmp.Or(why, "no frames came"))
	}
	return size, nil
}

// videoFrames reads the frames of videos.
type videoFrames struct {
	box      *container
	unpacked string // the folder with the frames of video files
	frames   []frame
	options  picture.Options
	fps      float64
	desks    sync.Pool // *desk

	wanted func(i int) bool      // whether the set would keep frame i; nil: it keeps none
	keep   func(i int, m *Image) // gives it a frame that was composed on the way to another
}

// with calls use with the bytes of the file that frame i is in.
func (v *videoFrames) with(i int, use func(content []byte, d *desk) error) error {
	f := &v.frames[i]
	if f.err != nil {
		return f.err
	}
	d, ok := v.desks.Get().(*desk)
	if !ok {
		d = new(desk)
	}
	defer v.desks.Put(d)
	content, err := f.box.read(f.file, d.file)
	if err != nil {
		return err
	}
	d.file = content
	return use(content, d)
}

func (v *videoFrames) read(i int, dst *Image) error {
	f := &v.frames[i]
	return v.with(i, func(content []byte, d *desk) error {
		if f.at < 0 {
			return d.Decode(content, v.options, dst)
		}
		found := false
		err := d.Animate(content, v.options, func(k int, m *Image) bool {
			other := i - f.at + k // frames of an animation are neighbours in the set
			if k == f.at {
				found = true
				dst.Resize(m.Width, m.Height)
				copy(dst.Pix, m.Pix)
			} else if v.wanted != nil && other >= 0 && other < len(v.frames) && v.frames[other].video == f.video && v.wanted(other) {
				v.keep(other, m)
			}
			return k < f.at || v.wanted != nil
		})
		if err == nil && !found {
			err = errors.New("the gif has lost frames since it was opened")
		}
		return err
	})
}

func (v *videoFrames) header(i int) (format string, width, height int, err error) {
	err = v.with(i, func(content []byte, _ *desk) error {
		h, err := picture.ReadHeader(content, v.options)
		format, width, height = h.Format, h.Width, h.Height
		return err
	})
	if err == nil && v.unpacked != "" && v.frames[i].box != v.box {
		format = video
	}
	return format, width, height, err
}

func (v *videoFrames) size(i int) int64 { return v.frames[i].bytes }

func (v *videoFrames) fingerprint(h hash.Hash) {
	if v.unpacked != "" {
		h.Write(binary.LittleEndian.AppendUint64(nil, math.Float64bits(v.fps)))
	}
}

func (v *videoFrames) close() error {
	if v.unpacked == "" {
		return v.box.close()
	}
	return errors.Join(v.box.close(), os.RemoveAll(v.unpacked))
}
