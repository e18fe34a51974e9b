// Command mca estimates how fast the inner loops of the NEON kernels run on processors that nobody
// measured them on. LLVM's machine code analyser (llvm-mca) simulates each loop on its models of
// these processors. It prints two tables.
//
// The first is of the tiles, with two figures for each processor: how long the multiplying
// instructions of a loop take alone, over the time of the whole loop in the simulation, and the
// products in a cycle. At 100% nothing but multiplying takes time.
//
// The second is of the other loops: how long the loop's busiest unit has to work, over the time of
// the simulation. At 100% nothing waits, be it for a result, for a place in a queue, or to begin.
//
//	go run ./scripts/mca -llvm=-19            # needs llvm-mca and llvm-objdump of LLVM 16 or later
//
// A model knows the pipelines and not the caches: it is an estimate of the loop, not of a
// convolution. LLVM has one model for all of Apple's cores, that of 2013, which takes the
// instructions of bfloat16 for ordinary ones.
package main

import (
	"bytes"
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// model is a processor, as llvm-mca names it.
type model struct {
	name string
	bf16 bool // has FEAT_BF16
}

var models = []model{
	{"neoverse-n1", false}, {"neoverse-n2", true}, {"neoverse-v1", true}, {"neoverse-v2", true}, {"apple-m2", true},
}

func main() {
	suffix := flag.String("llvm", "", "what follows the names of LLVM's programs: -19 for llvm-mca-19")
	flag.Parse()
	if err := run(os.Stdout, *suffix); err != nil {
		fmt.Fprintln(os.Stderr, "mca:", err)
		os.Exit(1)
	}
}

func run(out io.Writer, suffix string) error {
	for _, program := range []string{"llvm-mca", "llvm-objdump"} {
		if _, err := exec.LookPath(program + suffix); err != nil {
			return fmt.Errorf("%w; Debian's package is llvm-19, and its programs are found with -llvm=-19", err)
		}
	}
	loops, err := disassemble(suffix)
	if err != nil {
		return err
	}
	var tiles, others []loop
	for _, l := range loops {
		if isTile.MatchString(l.kernel) {
			tiles = append(tiles, l)
		} else {
			others = append(others, l)
		}
	}
	if err := printTable(out, suffix, "tile", tiles, multiplying); err != nil {
		return err
	}
	fmt.Fprintln(out)
	return printTable(out, suffix, "loop", others, busy)
}

// printTable prints a row for each loop. cell makes a figure of what models say of the whole loop
// and of its multiplying instructions alone.
func printTable(out io.Writer, suffix, what string, loops []loop, cell func(l loop, whole, alone simulated) string) error {
	heading := []string{what, "instructions", "that multiply"}
	for _, m := range models {
		heading = append(heading, m.name)
	}
	fmt.Fprintf(out, "| %s |\n%s|\n", strings.Join(heading, " | "), strings.Repeat("|---", len(heading)))
	for _, l := range loops {
		row := []string{l.kernel, strconv.Itoa(len(l.body)), strconv.Itoa(len(l.multiplies()))}
		for _, m := range models {
			if l.needsBF16() && !m.bf16 {
				row = append(row, "")
				continue
			}
			whole, err := simulate(suffix, m, l.body)
			if err != nil {
				return fmt.Errorf("%s: %w", l.kernel, err)
			}
			alone, err := simulate(suffix, m, l.multiplies())
			if err != nil {
				return fmt.Errorf("%s: %w", l.kernel, err)
			}
			row = append(row, cell(l, whole, alone))
		}
		fmt.Fprintf(out, "| %s |\n", strings.Join(row, " | "))
	}
	return nil
}

// multiplying is the cell of a tile.
func multiplying(l loop, whole, alone simulated) string {
	return fmt.Sprintf("%.0f%%, %.1f", 100*alone.busiest/whole.cycles, float64(l.products())/whole.cycles)
}

// busy is the cell of another loop.
func busy(_ loop, whole, _ simulated) string {
	return fmt.Sprintf("%.0f%%", 100*whole.busiest/whole.cycles)
}

// loop is the innermost loop of a kernel that multiplies most.
type loop struct {
	kernel string
	body   []string // instructions
}

// multiplies are the loop's multiplying instructions alone.
func (l loop) multiplies() (list []string) {
	for _, c := range l.body {
		if multiplyAdd.MatchString(c) {
			list = append(list, c)
		}
	}
	return list
}

// products is how many products a round of the loop adds to sums.
func (l loop) products() (n int) {
	for _, c := range l.multiplies() {
		name, _, _ := strings.Cut(c, " ")
		n += map[string]int{"fmla": 4, "fmls": 4, "bfmmla": 16}[name]
	}
	return n
}

// needsBF16 tells whether the loop has an instruction of FEAT_BF16.
func (l loop) needsBF16() bool { return slices.ContainsFunc(l.body, ofBF16.MatchString) }

var (
	function    = regexp.MustCompile(`^[0-9a-f]+ <.*/kernel\.(\w+)NEON(BF16)?\.abi0>:$`)
	instruction = regexp.MustCompile(`^\s*([0-9a-f]+):\s+(.*\S)\s*$`)
	branch      = regexp.MustCompile(`^(?:b\.\w+|cbn?z|tbn?z)\s+(?:.*,\s*)?(?:0x)?([0-9a-f]+)(?: <.*>)?$`)
	multiplyAdd = regexp.MustCompile(`^(?:fmla|fmls|bfmmla)\s`)
	ofBF16      = regexp.MustCompile(`^(?:bfmmla|bfcvtn2?)\s`)
	isTile      = regexp.MustCompile(`^(?:tile|grad)(?:Pairs)?\d+x\d+`)
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
			kernel = m[1] + m[2]
		} else if m := instruction.FindStringSubmatch(line); m != nil && kernel != "" {
			addresses, code = append(addresses, m[1]), append(code, strings.ReplaceAll(m[2], "\t", " "))
		} else if line == "" && kernel != "" {
			end()
		}
	}
	end()
	density := func(l loop) float64 { return float64(len(l.multiplies())) / float64(len(l.body)) }
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
			if len(l.multiplies()) > len(best.multiplies()) {
				best = l
			}
		}
		first = i + 1
	}
	return best, len(best.multiplies()) >= 4
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

func simulate(suffix string, m model, body []string) (s simulated, err error) {
	// The jump back is there without its target, which the analyser has no use for.
	body = slices.Clone(body)
	if last := len(body) - 1; branch.MatchString(body[last]) {
		body[last] = "b.ne 0"
	}
	c := exec.Command("llvm-mca"+suffix, "-mtriple=aarch64", "-mcpu="+m.name, "-iterations="+strconv.Itoa(iterations))
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
