package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"moco/evaluate"
	"moco/transfer"
)

// translated are the pages that are there in two languages.
var translated = [][2]string{{"README.md", "README.zh-CN.md"}, {"docs/paper.md", "docs/paper.zh-CN.md"}}

// page is the text of a page, by its path in the repository.
func page(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("../..", filepath.FromSlash(path)))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

var (
	fence = regexp.MustCompile("(?ms)^```[a-z]*\n(.*?)^```$")
	// remark is a comment of a shell or of Go, with the spaces before it.
	remark = regexp.MustCompile(`(?m)(^|[ \t]+)(#|//)[ \t].*$`)
)

// fenced are the lines of the fenced blocks of a page, without comments.
func fenced(text string) []string {
	var lines []string
	for _, block := range fence.FindAllStringSubmatch(text, -1) {
		shell := strings.ReplaceAll(block[1], "\\\n", " ")
		lines = append(lines, strings.Split(remark.ReplaceAllString(shell, ""), "\n")...)
	}
	return lines
}

// mocoCommands are the arguments of the calls of moco among lines of a shell.
func mocoCommands(lines []string) [][]string {
	var calls [][]string
	for _, line := range lines {
		for part := range strings.SplitSeq(line, "&&") {
			words := strings.Fields(strings.ReplaceAll(part, "'", ""))
			at := slices.IndexFunc(words, func(word string) bool { return word == "./moco" || word == "moco" })
			if strings.HasPrefix(part, "go run ./cmd/moco ") {
				at = 2
			}
			if at >= 0 {
				calls = append(calls, words[at+1:])
			}
		}
	}
	return calls
}

// TestTranslations: both languages have the same blocks, but for comments.
func TestTranslations(t *testing.T) {
	t.Parallel()
	for _, pair := range translated {
		first, second := fenced(page(t, pair[0])), fenced(page(t, pair[1]))
		if len(first) == 0 {
			t.Errorf("%s has no commands", pair[0])
		}
		for i := range max(len(first), len(second)) {
			if i >= len(first) || i >= len(second) || first[i] != second[i] {
				t.Errorf("%s has %d lines in blocks, %s %d; they differ at\n%q\n%q", pair[0], len(first), pair[1], len(second),
					first[min(i, len(first)):min(i+1, len(first))], second[min(i, len(second)):min(i+1, len(second))])
				break
			}
		}
	}
}

// documented makes the options of each command that the pages show.
var documented = map[string]func() options{
	"demo":    func() options { return &demoOptions{} },
	"train":   func() options { return &trainOptions{} },
	"compare": func() options { return &compareOptions{} },
	"transfer": func() options {
		return &transferOptions{comparison: transfer.Comparison{Linear: evaluate.DefaultLinear()}}
	},
	"embed":         func() options { return &embedOptions{} },
	"classify":      func() options { return &classifyOptions{} },
	"studio":        func() options { return &studioOptions{} },
	"info":          func() options { return &infoOptions{} },
	"import":        func() options { return &importOptions{} },
	"export":        func() options { return &exportOptions{} },
	"search":        func() options { return &exploreOptions{question: &search{}, command: "search"} },
	"dedupe":        func() options { return &exploreOptions{question: &dedupe{}, command: "dedupe"} },
	"outliers":      func() options { return &exploreOptions{question: &outliers{}, command: "outliers"} },
	"label-errors":  func() options { return &exploreOptions{question: &labelErrors{}, command: "label-errors"} },
	"cluster":       func() options { return &exploreOptions{question: &clusters{}, command: "cluster"} },
	"data info":     func() options { return &dataInfoOptions{} },
	"eval knn":      func() options { return &knnOptions{} },
	"eval linear":   func() options { return &linearOptions{linear: evaluate.DefaultLinear()} },
	"eval finetune": func() options { return &finetuneOptions{} },
}

// TestDocumentedCommands: moco takes each command line of the pages.
func TestDocumentedCommands(t *testing.T) {
	t.Parallel()
	for _, pair := range translated {
		calls := mocoCommands(fenced(page(t, pair[0])))
		if len(calls) < 5 {
			t.Errorf("%s has only the calls %q", pair[0], calls)
		}
		for _, words := range calls {
			name, rest := words[0], words[1:]
			if name == "data" || name == "eval" {
				name, rest = name+" "+rest[0], rest[1:]
			}
			if documented[name] == nil {
				t.Errorf("%s: %q is no command that this test knows", pair[0], words)
				continue
			}
			if err := parsed(documented[name](), fromHere(strings.Join(rest, " "))); err != nil {
				t.Errorf("%s: moco %s: %v", pair[0], strings.Join(words, " "), err)
			}
		}
	}
}

// fromHere is a command line for the root of the repository, as it is in the folder of this test.
func fromHere(line string) string {
	return strings.ReplaceAll(line, "docs/paper/", "../../docs/paper/")
}

// TestPaperRuns runs the commands of docs/paper.md in a short form: with fewer and smaller pictures, a
// tiny encoder and a few steps.
func TestPaperRuns(t *testing.T) {
	t.Parallel()
	fewer := map[string]string{"train": " --steps 2", "compare": " --epochs 1"}
	for _, words := range mocoCommands(fenced(page(t, "docs/paper.md"))) {
		line := fromHere(strings.Join(words, " "))
		t.Run(words[len(words)-1], func(t *testing.T) { // the last word is the run's folder
			t.Parallel()
			dir := t.TempDir()
			line := strings.NewReplacer(
				"builtin:train", "builtin:train?n=1100&size=8", "builtin:test", "builtin:test?n=20&size=8",
				"--out ", "--out "+filepath.ToSlash(dir)+"/").Replace(line)
			line += fewer[words[0]] + " --set encoder.width=0.0625 --set encoder.dim=8 --set views.size=8"
			code, stdout, stderr := command(strings.Fields(line)...)
			if code != 0 || strings.Contains(stdout+stderr, "failed") {
				t.Fatalf("exit code %d\n%s\n%s", code, stdout, stderr)
			}
			result := map[string]string{"train": "*/encoder.safetensors", "compare": "*/table.md"}[words[0]]
			if found, err := filepath.Glob(filepath.Join(dir, result)); len(found) != 1 || err != nil {
				t.Errorf("%s is not there: %v", result, err)
			}
		})
	}
}

var (
	sourceLink = regexp.MustCompile(`\[[a-z]+\.go\]\(\.\./([a-z/]+\.go)\)`)
	codeName   = regexp.MustCompile("`([A-Za-z]+)`")
)

// TestPaperNames: the names that docs/paper.md gives of a file stand in that file.
func TestPaperNames(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"docs/paper.md", "docs/paper.zh-CN.md"} {
		checked := 0
		for paragraph := range strings.SplitSeq(page(t, path), "\n\n") {
			links := sourceLink.FindAllStringSubmatchIndex(paragraph, -1)
			for i, link := range links {
				end := len(paragraph)
				if i+1 < len(links) {
					end = links[i+1][0]
				}
				file := paragraph[link[2]:link[3]]
				source := page(t, file)
				for _, name := range codeName.FindAllStringSubmatch(paragraph[link[1]:end], -1) {
					checked++
					if !regexp.MustCompile(`\b` + name[1] + `\b`).MatchString(source) {
						t.Errorf("%s: %s does not have %s", path, file, name[1])
					}
				}
			}
		}
		if checked < 20 {
			t.Errorf("%s names only %d places in the code", path, checked)
		}
	}
}
