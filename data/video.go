package data

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"maps"
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

	"golang.org/x/sync/errgroup"

	"moco/picture"
)

// video is the noun for groups of frames.
const video = "video"

// videoExtensions are the files that ffmpeg is asked to read.
const videoExtensions = ".mp4 .m4v .mov .mkv .webm .avi .mpg .mpeg .wmv .flv .3gp .ogv"

// DefaultFPS is how many frames a second are taken from a video file.
const DefaultFPS = 5

// frameEdge is the shorter side, in pixels, that frames of larger video files are made smaller to;
// maxFrameBytes is what all of them may take on disk.
const (
	frameEdge     = 256
	maxFrameBytes = 32 << 30
)

func isVideoName(name string) bool { return videoEndings[ending(name)] }

var videoEndings = endings(videoExtensions)

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

// clips are the videos found so far, by name.
type clips map[string]*clip

func (c clips) add(name string, frames ...frame) {
	if c[name] == nil {
		c[name] = &clip{name: name}
	}
	c[name].frames = append(c[name].frames, frames...)
}

// sorted returns the videos in the order of their names.
func (c clips) sorted() []*clip {
	return slices.SortedFunc(maps.Values(c), func(a, b *clip) int { return cmp.Compare(a.name, b.name) })
}

// addImages takes each folder of images for a video, and each animated GIF for one of its own.
func (c clips) addImages(ctx context.Context, box *container, images []entry) error {
	for _, e := range images {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := 1
		if ending(e.name) == ".gif" {
			content, err := box.read(e, nil)
			if err == nil {
				n, err = picture.Frames(content)
			}
			if err != nil {
				c.add(e.name, frame{name: "0", at: -1, err: err, bytes: e.size})
				c[e.name].broken = true
				continue
			}
		}
		if n == 1 {
			c.add(path.Dir(e.name), frame{name: path.Base(e.name), box: box, file: e, at: -1, bytes: e.size})
			continue
		}
		for k := range n {
			c.add(e.name, frame{name: fmt.Sprintf("%06d", k), box: box, file: e, at: k})
		}
		c[e.name].frames[0].bytes = e.size
	}
	return nil
}

// openFrames makes a set of the frames of the videos in a container, nil if there are none. A video
// is a folder of images, an animated GIF or a video file. The videos take the place that images
// have in other sets: their paths say what is a class and what is a part.
func openFrames(ctx context.Context, box *container, opts Options) (_ *Set, err error) {
	images, others, err := findImages(ctx, box)
	if err != nil {
		return nil, err
	}
	left := box.left.clone()
	var files []entry
	for _, e := range others {
		if isVideoName(e.name) {
			files = append(files, e)
		} else {
			left.file(e.name)
		}
	}
	found := clips{}
	if err := found.addImages(ctx, box, images); err != nil {
		return nil, err
	}
	v := &videoFrames{box: box, options: opts.picture(), fps: opts.FPS}
	defer func() {
		if err != nil {
			os.RemoveAll(v.unpacked)
		}
	}()
	if len(files) > 0 {
		if err := v.unpack(ctx, files, opts, found); err != nil {
			return nil, err
		}
		for _, f := range files {
			found[f.name].broken = found[f.name].frames[0].err != nil
		}
	}
	if len(found) == 0 {
		return nil, nil
	}
	s, err := v.set(found.sorted(), opts.Part)
	if err != nil {
		return nil, err
	}
	s.left = left.sum()
	return s, nil
}

// set makes a set of the videos that belong to a part.
func (v *videoFrames) set(list []*clip, part Part) (*Set, error) {
	paths := make([]string, len(list))
	for i, c := range list {
		paths[i] = c.name
	}
	lay := arrange(paths, part)
	if len(lay.keep) == 0 {
		return nil, fmt.Errorf("this %s has no %s part", v.box.what, part)
	}
	for k, i := range lay.keep {
		for _, f := range list[i].frames {
			f.video, f.name = k, path.Join(lay.names[k], f.name)
			v.frames = append(v.frames, f)
		}
	}
	slices.SortStableFunc(v.frames, func(a, b frame) int { return cmp.Compare(a.name, b.name) })

	s := &Set{kind: "videos", classes: lay.classes, backend: v}
	if lay.labels != nil {
		s.kind = "videos in class folders"
	}
	groups := make([]group, len(lay.keep))
	for k, i := range lay.keep {
		groups[k].name, groups[k].damaged = Text(lay.names[k]), list[i].broken
	}
	names := make([]string, len(v.frames))
	for i, f := range v.frames {
		names[i] = f.name
		if lay.labels != nil {
			s.labels = append(s.labels, lay.labels[f.video])
		}
		groups[f.video].members = append(groups[f.video].members, i)
	}
	s.setNames(names, lay.common)
	for _, g := range groups {
		slices.SortFunc(g.members, func(a, b int) int { return natural(names[a], names[b]) })
	}
	s.setGroups(video, groups)
	return s, nil
}

// unpack has ffmpeg write the frames of video files to a temporary folder, where they lie until the
// set is closed: so any of them can be read at any time, and is the same each time.
func (v *videoFrames) unpack(ctx context.Context, files []entry, opts Options, found clips) error {
	first := Text(files[0].name)
	if v.box.root == "" {
		return fmt.Errorf("%s is a video inside of an archive, which cannot be read there; unpack the archive", first)
	}
	ffmpeg, err := exec.LookPath("ffmpeg")
	if err != nil {
		return fmt.Errorf("%s is a video file, and reading it takes ffmpeg, which is not installed; "+
			"install it, or give a folder of frames for each video", first)
	}
	if v.unpacked, err = os.MkdirTemp("", "moco-frames-*"); err != nil {
		return fmt.Errorf("make a folder for the frames of videos: %w", err)
	}
	failures, err := v.unpackAll(ctx, ffmpeg, files, opts)
	if err != nil {
		return err
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
			found.add(files[k].name, f)
		}
	}
	for k, err := range failures {
		if err != nil {
			found.add(files[k].name, frame{name: "0", at: -1, err: err, bytes: files[k].size})
		}
	}
	return nil
}

// unpackAll unpacks the videos, as many at once as there are processors, and returns for each why
// it cannot be read.
func (v *videoFrames) unpackAll(ctx context.Context, ffmpeg string, files []entry, opts Options) ([]error, error) {
	failures := make([]error, len(files))
	workers, ctx := errgroup.WithContext(ctx)
	workers.SetLimit(runtime.GOMAXPROCS(0))
	var mu sync.Mutex
	done, total := 0, int64(0)
	for k, e := range files {
		workers.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			file := filepath.Join(v.box.root, filepath.FromSlash(e.name))
			size, err := unpackOne(ctx, ffmpeg, file, v.folder(k), opts.FPS)
			mu.Lock()
			defer mu.Unlock()
			failures[k] = err
			done, total = done+1, total+size
			if opts.Progress != nil {
				opts.Progress(done, len(files))
			}
			if total > maxFrameBytes {
				return fmt.Errorf("the frames of the first %d of %d videos take more than the %d GiB that they "+
					"may have in %s; "+
					"take fewer frames a second", done, len(files), maxFrameBytes>>30, os.TempDir())
			}
			return ctx.Err()
		})
	}
	return failures, workers.Wait()
}

// folder is where the frames of video file k lie.
func (v *videoFrames) folder(k int) string { return filepath.Join(v.unpacked, fmt.Sprintf("%06d", k)) }

// unpackOne writes the frames of one video to a new folder and returns the bytes that they take.
func unpackOne(ctx context.Context, ffmpeg, file, to string, fps float64) (int64, error) {
	if err := os.Mkdir(to, 0o755); err != nil {
		return 0, err
	}
	scale := fmt.Sprintf("fps=%v,scale=w='if(gt(iw,ih),-1,min(%d,iw))':h='if(gt(iw,ih),min(%d,ih),-1)'", fps, frameEdge, frameEdge)
	// Only local files: what is named like a video may be a list of addresses. The plain decoders,
	// so that every machine sees the same.
	c := exec.CommandContext(ctx, ffmpeg, "-nostdin", "-loglevel", "error",
		"-protocol_whitelist", "file", "-threads", "1", "-i", "file:"+file,
		"-map", "0:v:0", "-vf", scale, "-pix_fmt", "rgb24", "-flags", "+bitexact",
		"-sws_flags", "bicubic+accurate_rnd+bitexact", filepath.Join(to, "%06d.png"))
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

	spare spare // for frames that were composed on the way to others
}

// lend makes the frames that are composed on the way to another useful.
func (v *videoFrames) lend(s spare) { v.spare = s }

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

func (v *videoFrames) read(i int, how picture.Options, dst *Image) error {
	f, r := &v.frames[i], readingOf(how)
	return v.with(i, func(content []byte, d *desk) error {
		if f.at < 0 {
			return d.Decode(content, how, dst)
		}
		found := false
		err := d.Animate(content, how, func(k int, m *Image) bool {
			other := i - f.at + k // frames of an animation are neighbours in the set
			if k == f.at {
				found = true
				dst.Resize(m.Width, m.Height)
				copy(dst.Pix, m.Pix)
			} else if v.spare.wanted != nil && v.sameVideo(i, other) && v.spare.wanted(other, r) {
				v.spare.keep(other, r, d.resize.Reduce(&d.reduced, m, how))
			}
			return k < f.at || v.spare.wanted != nil
		})
		if err == nil && !found {
			err = errors.New("the gif has lost frames since it was opened")
		}
		return err
	})
}

// sameVideo tells whether frame i and frame other, which may be none, are of one video.
func (v *videoFrames) sameVideo(i, other int) bool {
	return other >= 0 && other < len(v.frames) && v.frames[other].video == v.frames[i].video
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

// stored returns the bytes of the file that frame i is in.
func (v *videoFrames) stored(i int, buf []byte) ([]byte, bool, error) {
	f := &v.frames[i]
	if f.err != nil {
		return nil, false, f.err
	}
	content, err := f.box.read(f.file, buf)
	return content, f.at < 0, err
}

func (v *videoFrames) changed(i int) int64 { return v.frames[i].file.time }

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
