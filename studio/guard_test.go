package studio

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
)

// TestGuard sends what must not be let in, and what must.
func TestGuard(t *testing.T) {
	t.Parallel()
	c := serve(t, setup{n: 4})
	host, token := strings.TrimPrefix(c.base, "http://"), c.s.Token()
	_, port, err := net.SplitHostPort(host)
	if err != nil {
		t.Fatal(err)
	}
	cookie := "moco-" + port + "=" + token
	for _, q := range []struct {
		what, method, path, host string
		headers                  map[string]string
		want                     int
	}{
		{what: "the address that was printed", path: "/?token=" + token, want: 200},
		{what: "the page by its cookie", path: "/", headers: map[string]string{"Cookie": cookie}, want: 200},
		{what: "localhost", path: "/api/state", host: "localhost:" + port, headers: map[string]string{"Cookie": cookie}, want: 200},
		{what: "the token as a header", path: "/api/state", headers: map[string]string{TokenHeader: token}, want: 200},
		{what: "a change", method: "POST", path: "/api/undo", headers: map[string]string{"Cookie": cookie, "Origin": c.base}, want: 409},
		{what: "no token", path: "/", want: 403},
		{what: "no token for a picture", path: "/thumb/1", want: 403},
		{what: "no token for events", path: "/api/events", want: 403},
		{what: "another token", path: "/?token=x" + token[1:], want: 403},
		{what: "an empty token", path: "/?token=", headers: map[string]string{"Cookie": cookie}, want: 403},
		{what: "the token of another port", path: "/api/state", headers: map[string]string{"Cookie": "moco-1=" + token}, want: 403},
		{what: "the token in the address of another page", path: "/api/state?token=" + token, want: 403},
		{what: "a foreign name", path: "/api/state", host: "evil.example:" + port, headers: map[string]string{"Cookie": cookie}, want: 403},
		{what: "another port", path: "/api/state", host: "127.0.0.1:1", headers: map[string]string{"Cookie": cookie}, want: 403},
		{what: "no port", path: "/api/state", host: "127.0.0.1", headers: map[string]string{"Cookie": cookie}, want: 403},
		{what: "an address of the network", path: "/api/state", host: "192.168.1.2:" + port, headers: map[string]string{"Cookie": cookie}, want: 403},
		{what: "a change without an origin", method: "POST", path: "/api/undo", headers: map[string]string{"Cookie": cookie}, want: 403},
		{what: "a change from elsewhere", method: "POST", path: "/api/undo",
			headers: map[string]string{"Cookie": cookie, "Origin": "http://evil.example"}, want: 403},
		{what: "a change from nowhere", method: "POST", path: "/api/undo",
			headers: map[string]string{"Cookie": cookie, "Origin": "null"}, want: 403},
		{what: "a change by https", method: "POST", path: "/api/undo",
			headers: map[string]string{"Cookie": cookie, "Origin": "https://" + host}, want: 403},
		{what: "a picture for another site", path: "/thumb/1",
			headers: map[string]string{"Cookie": cookie, "Sec-Fetch-Site": "cross-site"}, want: 403},
		{what: "a change by GET", path: "/api/label", headers: map[string]string{"Cookie": cookie}, want: 404},
		{what: "DELETE", method: "DELETE", path: "/api/label", headers: map[string]string{"Cookie": cookie, "Origin": c.base}, want: 405},
		{what: "a file beside the page", path: "/%2e%2e/guard.go", headers: map[string]string{"Cookie": cookie}, want: 404},
		{what: "another file beside the page", path: "/..%2fguard.go", headers: map[string]string{"Cookie": cookie}, want: 404},
		{what: "a folder", path: "/page/", headers: map[string]string{"Cookie": cookie}, want: 404},
	} {
		r, err := http.NewRequest(q.method, c.base+q.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = q.host
		for k, v := range q.headers {
			r.Header.Set(k, v)
		}
		a, err := (&http.Transport{}).RoundTrip(r)
		if err != nil {
			t.Errorf("%s: %v", q.what, err)
			continue
		}
		raw, _ := io.ReadAll(a.Body)
		a.Body.Close()
		if a.StatusCode != q.want {
			t.Errorf("%s gives %d, want %d: %s", q.what, a.StatusCode, q.want, raw)
		}
		if !strings.Contains(a.Header.Get("Content-Security-Policy"), "default-src 'none'") || a.Header.Get("X-Frame-Options") != "DENY" ||
			a.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s has the headers %v", q.what, a.Header)
		}
		var e map[string]string
		if a.StatusCode == 403 && (json.Unmarshal(raw, &e) != nil || e["error"] == "") {
			t.Errorf("%s says %s", q.what, raw)
		}
		if set := a.Header.Get("Set-Cookie"); strings.Contains(q.path, token) && q.want == 200 &&
			set != cookie+"; Path=/; HttpOnly; SameSite=Strict" {
			t.Errorf("the cookie is %q", set)
		}
	}
}

// TestOpenToOthers: a server of the network takes addresses written as numbers, and no names.
func TestOpenToOthers(t *testing.T) {
	t.Parallel()
	g := newGuard("t", &net.TCPAddr{IP: net.IPv4zero, Port: 80}, nil)
	for host, want := range map[string]bool{"192.168.1.2:80": true, "[fe80::1]:80": true, "localhost:80": true, "evil.example:80": false, "192.168.1.2:81": false} {
		if g.ours(host) != want {
			t.Errorf("%s is ours: %v", host, !want)
		}
	}
}

// TestBadRequests: what makes no sense is refused, and changes nothing.
func TestBadRequests(t *testing.T) {
	t.Parallel()
	c := serve(t, setup{n: 4})
	long := strings.Repeat("x", maxClassName+1)
	for _, q := range []struct {
		path string
		body any // nil: GET
		want int
	}{
		{"/thumb/4", nil, 404}, {"/thumb/-1", nil, 404}, {"/thumb/x", nil, 404}, {"/thumb/1?s=7", nil, 400}, {"/thumb/1?s=x", nil, 400},
		{"/thumb/99999999999999999999", nil, 404}, {"/picture/..%2f..%2fetc%2fpasswd", nil, 404}, {"/api/picture/4", nil, 404},
		{"/api/names?from=-1", nil, 400}, {"/api/names?count=-1", nil, 400}, {"/api/names?from=9999999999", nil, 200},
		{"/api/changes?since=x", nil, 400}, {"/api/column/secret", nil, 404}, {"/api/column/prediction", nil, 404},
		{"/api/layout", nil, 404}, {"/api/run", nil, 404}, {"/api/export/passwd", nil, 404}, {"/api/export/predictions.csv", nil, 409},
		{"/api/clean/outliers", nil, 404}, {"/api/clean/doubtful", nil, 404}, {"/api/nothing", nil, 404},
		{"/api/label", []byte("{"), 400}, {"/api/label", []byte(`{"images":[1]}{}`), 400}, {"/api/label", []byte(`{"images":["1"]}`), 400},
		{"/api/label", []byte(`{"images":[1.5],"label":"a"}`), 400}, {"/api/label", []byte(`{"images":[99999999999],"label":"a"}`), 400},
		{"/api/label", map[string]any{"images": []int{0, 4}, "label": "a"}, 400},
		{"/api/label", map[string]any{"images": []int{-1}, "label": "a"}, 400},
		{"/api/label", map[string]any{"images": []int{1}, "label": long}, 400},
		{"/api/label", map[string]any{"images": []int{1}, "label": "a\nb"}, 400},
		{"/api/decide", map[string]any{"images": []int{1}, "decision": "burn"}, 400},
		{"/api/class", map[string]any{"name": " "}, 400}, {"/api/class", map[string]any{"name": "none", "to": "b"}, 400},
		{"/api/accept", map[string]any{"images": []int{1}}, 409}, {"/api/search", map[string]any{"like": []int{1}}, 409},
		{"/api/search", map[string]any{"like": []int{7}}, 400}, {"/api/search/picture", []byte("no picture"), 409},
		{"/api/export/links", map[string]any{"kind": "../x"}, 400},
		{"/api/label", append(append([]byte(`{"label":"`), bytes.Repeat([]byte("x"), maxJSON)...), `"}`...), 413},
	} {
		method := "GET"
		if q.body != nil {
			method = "POST"
		}
		status, raw, _ := c.ask(method, q.path, q.body)
		if status != q.want {
			t.Errorf("%s %s with %.60v gives %d, want %d: %.200s", method, q.path, q.body, status, q.want, raw)
		}
	}
	if got, err := os.ReadFile(c.labels); err != nil || string(got) != "path,label,decision\n" {
		t.Errorf("the file of labels has become %q (%v)", got, err)
	}
}

// TestSlowClients: clients that send nothing, or read nothing, do not keep others from an answer.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	c := serve(t, setup{n: 4})
	host := strings.TrimPrefix(c.base, "http://")
	for range 50 {
		conn, err := net.Dial("tcp", host)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "POST /api/label HTTP/1.1\r\nHost: %s\r\nOrigin: %s\r\n%s: %s\r\nContent-Length: 100\r\n\r\n{", host, c.base, TokenHeader, c.s.Token())
	}
	for range maxPages { // pages that listen and never read
		conn, err := net.Dial("tcp", host)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "GET /api/events HTTP/1.1\r\nHost: %s\r\n%s: %s\r\n\r\n", host, TokenHeader, c.s.Token())
		if _, err := bufio.NewReader(conn).ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 * pageBuffer {
		post[tally](c, "/api/label", map[string]any{"images": []int{i % 4}, "label": fmt.Sprint("l", i)})
	}
	if status, raw, _ := c.ask("GET", "/api/events", nil); status != 503 && status != 200 {
		t.Errorf("one page too many gives %d: %s", status, raw)
	}
}

// TestEvents: a page that listens is told of a change.
func TestEvents(t *testing.T) {
	t.Parallel()
	c := serve(t, setup{n: 4})
	r, err := http.NewRequestWithContext(t.Context(), "GET", c.base+"/api/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set(TokenHeader, c.s.Token())
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	lines := bufio.NewScanner(a.Body)
	lines.Scan() // the server is there
	got := post[tally](c, "/api/label", map[string]any{"images": []int{1}, "label": "cat"})
	for lines.Scan() {
		if lines.Text() != "event: changed" {
			continue
		}
		lines.Scan()
		if want := fmt.Sprintf(`data: {"version":%d}`, got.Version); lines.Text() != want {
			t.Errorf("the event says %q, want %q", lines.Text(), want)
		}
		return
	}
	t.Error("no event came")
}

// FuzzRequests: no request makes the server fail otherwise than by a refusal.
func FuzzRequests(f *testing.F) {
	for _, s := range []string{"GET /thumb/1?s=64", "GET /api/names?from=1&count=2", "POST /api/label {\"images\":[1],\"label\":\"a\"}",
		"POST /api/search {\"like\":[0],\"text\":\"p\"}", "POST /api/class {\"name\":\"a\",\"to\":\"b\"}", "POST /api/undo {}", "POST /api/redo {}",
		"GET /api/changes?since=-1", "GET /api/column/label", "POST /api/export/links {\"kind\":\"labels\"}", "GET /api/export/drop.txt",
		"POST /api/search/picture xxx", "POST /api/accept {\"images\":[0]}", "POST /api/decide {\"images\":[0],\"decision\":\"keep\"}"} {
		f.Add(s)
	}
	c := serve(f, setup{n: 4})
	handler := c.s.handler(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80})
	f.Fuzz(func(t *testing.T, text string) {
		method, rest, _ := strings.Cut(text, " ")
		path, body, _ := strings.Cut(rest, " ")
		if strings.HasPrefix(path, "/api/events") {
			return // which goes on
		}
		r, err := http.NewRequestWithContext(t.Context(), method, "http://127.0.0.1:80"+path, strings.NewReader(body))
		if err != nil {
			return
		}
		r.Header.Set(TokenHeader, c.s.Token())
		r.Header.Set("Origin", "http://"+r.Host)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code >= 500 {
			t.Errorf("%q gives %d: %s", text, w.Code, w.Body)
		}
		if kind := w.Header().Get("Content-Type"); strings.HasPrefix(kind, "application/json") && !json.Valid(w.Body.Bytes()) {
			t.Errorf("%q gives no JSON: %s", text, w.Body)
		}
	})
}
