// Command mca estimates how fast the inner loops of the NEON kernels run on processors that nobody
// measured them on. LLVM's machine code analyser (llvm-mca) simulates each loop on its models of
// these processors. A loop's figure is the time that its busiest unit has to work, over the time of
// the simulation: at 100% nothing waits, be it for a result, for a place in a queue, or to begin.
//
//	go run ./scripts/mca -llvm=-19            # needs llvm-mca and llvm-objdump of LLVM 16 or later
//
// A model knows the pipelines and not the caches: it is an estimate of the loop, not of a
// convolution. LLVM has one model for all of Apple's cores, that of 2013.
package main

import (
	"bytes"
	"cmp"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// models are the processors, as llvm-mca names them.
var models = []string{"neoverse-n1", "neoverse-n2", "neoverse-v1", "neoverse-v2", "apple-m1"}

func main() {
	suffix := flag.String("llvm", "", "what follows the names of LLVM's programs: -19 for llvm-mca-19")
	flag.Parse()
	if err := run(*suffix); err != nil {
		fmt.Fprintln(os.Stderr, "mca:", err)
		os.Exit(1)
	}
}

func run(suffix string) error {
	for _, program := range []string{"llvm-mca", "llvm-objdump"} {
		if _, err := exec.LookPath(program + suffix); err != nil {
			return fmt.Errorf("%w; Debian's package is llvm-19, and its programs are found with -llvm=-19", err)
		}
	}
	loops, err := disassemble(suffix)
	if err != nil {
		return err
	}
	fmt.Printf("| loop | instructions | multiply-adds | the busiest unit multiplies | %s |\n", strings.Join(models, " | "))
	fmt.Println("|---|---|---|---|" + strings.Repeat("---|", len(models)))
	for _, l := range loops {
		if err := l.row(suffix); err != nil {
			return fmt.Errorf("%s: %w", l.kernel, err)
		}
	}
	return nil
}

// row prints a loop's row of the table.
func (l loop) row(suffix string) error {
	var shares []string
	multiplies := true // on all models
	for _, model := range models {
		whole, err := simulate(suffix, model, l.body)
		if err != nil {
			return err
		}
		alone, err := simulate(suffix, model, l.multiplyAdds())
		if err != nil {
			return err
		}
		multiplies = multiplies && alone.busiest > 0.99*whole.busiest
		shares = append(shares, fmt.Sprintf("%.0f%%", 100*whole.busiest/whole.cycles))
	}
	fmt.Printf("| %s | %d | %d | %s | %s |\n", l.kernel, len(l.body), len(l.multiplyAdds()),
		map[bool]string{true: "yes", false: "no"}[multiplies], strings.Join(shares, " | "))
	return nil
}

// loop is the innermost loop of a kernel that multiplies most.
type loop struct {
	kernel string
	body   []string // instructions
}

// multiplyAdds are the loop's multiply-adds alone.
func (l loop) multiplyAdds() (list []string) {
	for _, c := range l.body {
		if multiplyAdd.MatchString(c) {
			list = append(list, c)
		}
	}
	return list
}

var (
	function    = regexp.MustCompile(`^[0-9a-f]+ <.*/kernel\.(\w+)NEON\.abi0>:$`)
	instruction = regexp.MustCompile(`^\s*([0-9a-f]+):\s+(.*\S)\s*$`)
	branch      = regexp.MustCompile(`^(?:b\.\w+|cbn?z|tbn?z)\s+(?:.*,\s*)?(?:0x)?([0-9a-f]+)(?: <.*>)?$`)
	multiplyAdd = regexp.MustCompile(`^(?:fmla|fmls|bfdot|bfmmla)\s`)
)

// disassemble builds the kernels for arm64 and finds their loops.
func disassemble(suffix string) ([]loop, error) {
	folder, err := os.MkdirTemp("", "mca")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(folder)
	binary := filepath.Join(folder, "kernels")
	build := exec.Command("go", "test", "-c", "-o", binary, "./engine/cpu/internal/kernel")
	build.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm64", "CGO_ENABLED=0")
	if _, err := output(build); err != nil {
		return nil, err
	}
	text, err := output(exec.Command("llvm-objdump"+suffix, "-d", "--no-show-raw-insn", binary))
	if err != nil {
		return nil, err
	}
	loops := find(text)
	if len(loops) == 0 {
		return nil, errors.New("the disassembly has no loop of multiply-adds")
	}
	return loops, nil
}

// find returns the loop of each kernel in a disassembly that has at least four multiply-adds.
func find(text string) (loops []loop) {
	var kernel string
	var addresses []string
	var code []string
	end := func() {
		if l, ok := innermost(kernel, addresses, code); ok {
			loops = append(loops, l)
		}
		kernel, addresses, code = "", nil, nil
	}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if m := function.FindStringSubmatch(line); m != nil {
			end()
			kernel = m[1]
		} else if m := instruction.FindStringSubmatch(line); m != nil && kernel != "" {
			addresses, code = append(addresses, m[1]), append(code, strings.ReplaceAll(m[2], "\t", " "))
		} else if line == "" && kernel != "" {
			end()
		}
	}
	end()
	density := func(l loop) float64 { return float64(len(l.multiplyAdds())) / float64(len(l.body)) }
	slices.SortStableFunc(loops, func(a, b loop) int { return cmp.Compare(density(b), density(a)) })
	return loops
}

// innermost is the loop without another loop in it that has the most multiply-adds.
func innermost(kernel string, addresses, code []string) (best loop, ok bool) {
	first := 0 // a loop that begins before the last one's branch would hold that one
	for i, c := range code {
		m := branch.FindStringSubmatch(c)
		if m == nil {
			continue
		}
		start := slices.Index(addresses, m[1])
		if start < 0 || start > i {
			continue
		}
		if start >= first {
			l := loop{kernel: kernel, body: code[start : i+1]}
			if len(l.multiplyAdds()) > len(best.multiplyAdds()) {
				best = l
			}
		}
		first = i + 1
	}
	return best, len(best.multiplyAdds()) >= 4
}

var (
	totalCycles = regexp.MustCompile(`Total Cycles:\s+(\d+)`)
	throughput  = regexp.MustCompile(`Block RThroughput:\s+([\d.]+)`)
)

// iterations is how many rounds of a loop are simulated. The start of the first and the end of the
// last are then little of them.
const iterations = 400

// simulated is what a model says of a round of a loop, in cycles: how long it takes, and how long
// its busiest unit works.
type simulated struct{ cycles, busiest float64 }

func simulate(suffix, model string, body []string) (s simulated, err error) {
	// The jump back is there without its target, which the analyser has no use for.
	body = slices.Clone(body)
	if last := len(body) - 1; branch.MatchString(body[last]) {
		body[last] = "b.ne 0"
	}
	c := exec.Command("llvm-mca"+suffix, "-mtriple=aarch64", "-mcpu="+model, "-mattr=+bf16", "-iterations="+strconv.Itoa(iterations))
	c.Stdin = strings.NewReader(strings.Join(body, "\n") + "\n")
	text, err := output(c)
	if err != nil {
		return s, err
	}
	for value, pattern := range map[*float64]*regexp.Regexp{&s.cycles: totalCycles, &s.busiest: throughput} {
		m := pattern.FindStringSubmatch(text)
		if m == nil {
			return s, fmt.Errorf("llvm-mca prints no %v", pattern)
		}
		if *value, err = strconv.ParseFloat(m[1], 64); err != nil {
			return s, err
		}
	}
	s.cycles /= iterations
	return s, nil
}

// output runs a command and returns what it prints.
func output(c *exec.Cmd) (string, error) {
	var errors bytes.Buffer
	c.Stderr = &errors
	out, err := c.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", c.Path, err, strings.TrimSpace(errors.String()))
	}
	return string(out), nil
}
