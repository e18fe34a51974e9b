package studio

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"moco/labels"
)

// killed is set in a process that only labels, until it is killed: to the folder of its pictures.
const killed = "MOCO_TEST_STUDIO"

// TestLabelsForever is what the process does that TestKilled kills.
func TestLabelsForever(t *testing.T) {
	dir := os.Getenv(killed)
	if dir == "" {
		t.Skip("a part of TestKilled")
	}
	c := serve(t, setup{dir: dir, n: 40})
	for i := 0; ; i++ {
		a := post[tally](c, "/api/label", map[string]any{"images": []int{i % 40, (i + 1) % 40}, "label": fmt.Sprint("c", i)})
		line, err := json.Marshal([]int{i, a.Labelled})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("labelled %s\n", line)
	}
}

// TestKilled kills a studio while it labels: what it has answered to is in the file, and the next
// start has it.
func TestKilled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pictures(t, filepath.Join(dir, "photos"), 40, 0)
	c := exec.Command(os.Args[0], "-test.run=^TestLabelsForever$")
	c.Env = append(os.Environ(), killed+"="+dir)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	last, lines := -1, bufio.NewScanner(out)
	for lines.Scan() {
		text, ok := strings.CutPrefix(lines.Text(), "labelled ")
		var now [2]int
		if !ok || json.Unmarshal([]byte(text), &now) != nil {
			continue
		}
		if last = now[0]; last == 60 {
			break
		}
	}
	c.Process.Kill()
	for lines.Scan() { // what it said before it died counts too
		if text, ok := strings.CutPrefix(lines.Text(), "labelled "); ok {
			var now [2]int
			if json.Unmarshal([]byte(text), &now) == nil {
				last = now[0]
			}
		}
	}
	c.Wait()
	if last < 60 {
		t.Fatalf("it labelled %d times", last)
	}
	rows, err := labels.Read(filepath.Join(dir, "l.csv"))
	if err != nil {
		t.Fatal(err)
	}
	in := map[string]string{}
	for _, r := range rows {
		in[r.Path] = r.Label
	}
	studio := serve(t, setup{dir: dir, n: 40})
	for i := last - 37; i <= last; i++ {
		// Picture i was labelled by the request i, after that of i-1; the next request may have
		// begun.
		name := fmt.Sprintf("p%03d.jpg", i%40)
		if got := in[name]; got != fmt.Sprint("c", i) {
			t.Errorf("%s has the label %q, want c%d", name, got, i)
		}
		if got := get[facts](studio, fmt.Sprintf("/api/picture/%d", i%40)).Label; got != in[name] {
			t.Errorf("opened again, %s has %q, and the file %q", name, got, in[name])
		}
	}
}
