package studio

import (
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
)

// guard decides who may ask. The layers, each with a test that sends what it forbids:
//
//   - Host: only this machine's names with the right port. A page of somebody else's, whose name was
//     made to lead here (DNS rebinding), sends that name.
//   - Origin: what changes something must come from the studio's own page.
//   - the token: in the address at first, then in a cookie that no script can read and that no
//     other site's request carries.
//   - headers: no site may frame the page, no script but its own runs in it, and nothing is fetched
//     from anywhere else.
type guard struct {
	token  string
	cookie string // its name
	port   string
	open   bool // bound to more than the loopback addresses
	next   http.Handler
}

// TokenHeader is the header by which a program may give the token.
const TokenHeader = "X-Moco-Token"

// policy is the content security policy: everything comes from this server.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// newGuard guards a handler that answers at an address.
func newGuard(token string, at net.Addr, next http.Handler) *guard {
	g := &guard{token: token, next: next, open: true}
	if tcp, ok := at.(*net.TCPAddr); ok {
		g.port, g.open = strconv.Itoa(tcp.Port), !tcp.IP.IsLoopback()
	}
	g.cookie = "moco-" + g.port
	return g
}

func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	if !g.ours(r.Host) {
		fail(w, http.StatusForbidden, "this address is not the studio's; open the one that it printed")
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead && !g.sameOrigin(r) {
		fail(w, http.StatusForbidden, "the request does not come from the studio's page")
		return
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" && r.URL.Path != "/" {
		fail(w, http.StatusForbidden, "the request comes from another site")
		return
	}
	if r.URL.Path == "/" && r.URL.Query().Has("token") {
		if !g.knows(r.URL.Query().Get("token")) {
			fail(w, http.StatusForbidden, "the token is not this studio's; open the address that it printed")
			return
		}
		http.SetCookie(w, &http.Cookie{
			Name: g.cookie, Value: g.token, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode,
		})
	} else if !g.admitted(r) {
		fail(w, http.StatusForbidden, "the token is missing; open the address that the studio printed")
		return
	}
	g.next.ServeHTTP(w, r)
}

// admitted tells whether a request carries the token.
func (g *guard) admitted(r *http.Request) bool {
	if given := r.Header.Get(TokenHeader); given != "" {
		return g.knows(given)
	}
	c, err := r.Cookie(g.cookie)
	return err == nil && g.knows(c.Value)
}

// knows compares a token in a time that tells nothing about it.
func (g *guard) knows(token string) bool {
	return subtle.ConstantTimeCompare([]byte(token), []byte(g.token)) == 1
}

// ours tells whether a Host is this server: a loopback name, or, where the server is open to
// others, any address written as numbers, which no foreign name can lead to.
func (g *guard) ours(host string) bool {
	name, port, err := net.SplitHostPort(host)
	if err != nil || port != g.port {
		return false
	}
	if strings.EqualFold(name, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(name)
	return err == nil && ip.Zone() == "" && (ip.IsLoopback() || g.open)
}

// sameOrigin tells whether a request comes from a page of the Host that it goes to.
func (g *guard) sameOrigin(r *http.Request) bool {
	return r.Header.Get("Origin") == "http://"+r.Host
}

// shownAddress is a listener's address as a browser on this machine opens it.
func shownAddress(a net.Addr) string {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return a.String()
	}
	if tcp.IP.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", strconv.Itoa(tcp.Port))
	}
	return net.JoinHostPort(tcp.IP.String(), strconv.Itoa(tcp.Port))
}
