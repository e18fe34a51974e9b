package browser_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"moco/internal/browser"
)

// restless draws its button anew, again and again for a while, as pages do that follow what they hear;
// the first time that the mouse is down on it, too.
const restless = `<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><p></p><script>
let left = 300;
window.clicks = window.presses = 0;
function draw() {
  const button = document.createElement("button");
  button.textContent = left;
  button.onclick = () => window.clicks++;
  button.onmousedown = () => { if (window.presses++ === 0) draw(); };
  document.querySelector("p").replaceChildren(button);
  if (left-- > 0) setTimeout(draw);
}
draw();
</script>`

// TestClickOnWhatIsDrawnAnew: an element that is replaced while it is clicked on is clicked on once.
func TestClickOnWhatIsDrawnAnew(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, restless) }))
	defer server.Close()
	p, err := shared(t).Page(server.URL, browser.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.Click("button"); err != nil {
		t.Fatal(err)
	}
	counts, err := browser.Eval[[]int](p, "[window.clicks, window.presses]")
	if err != nil || counts[0] != 1 || counts[1] < 2 {
		t.Errorf("clicks and presses: %v, %v; the first press is lost, and one click is to be heard", counts, err)
	}
}
