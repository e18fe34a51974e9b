package vectordb

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha1"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"moco/vectors"
)

// collection is a collection of Qdrant. It takes four requests of the REST interface; Qdrant's
// client with gRPC would be a fifth of the binary.
type collection struct {
	client http.Client
	url    string // of the collection
	key    string // empty: the server asks for none
	name   string
}

const (
	portREST = "6333"
	portGRPC = "6334"
)

// most is the longest that Qdrant may take for one batch.
const most = 5 * time.Minute

func openQdrant(ctx context.Context, u *url.URL, dim int) (Database, error) {
	scheme := "http"
	if tls := u.Query().Get("tls"); tls != "" {
		on, err := strconv.ParseBool(tls)
		if err != nil {
			return nil, fmt.Errorf("tls=%s: write tls=true or tls=false", tls)
		}
		if on {
			scheme = "https"
		}
	}
	name := strings.Trim(u.Path, "/")
	host := url.URL{Scheme: scheme, Host: u.Hostname() + ":" + cmp.Or(u.Port(), portREST)}
	if strings.Contains(u.Hostname(), ":") { // an IPv6 address
		host.Host = "[" + u.Hostname() + "]:" + cmp.Or(u.Port(), portREST)
	}
	c := &collection{client: http.Client{Timeout: most}, url: host.JoinPath("collections", name).String(), name: name}
	if u.User != nil {
		c.key, _ = u.User.Password()
	}
	err := c.prepare(ctx, dim)
	if err != nil && u.Port() == portGRPC {
		err = fmt.Errorf("%w; port %s is that of gRPC, and moco speaks REST, whose port is %s", err, portGRPC, portREST)
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

// vectorParams is what a collection tells about its vectors.
type vectorParams struct {
	Size     int    `json:"size"`
	Distance string `json:"distance"`
}

// prepare makes the collection, or checks the length of the vectors in the one that exists.
func (c *collection) prepare(ctx context.Context, dim int) error {
	var there struct{ Exists bool }
	if err := c.call(ctx, http.MethodGet, "/exists", nil, &there); err != nil {
		return err
	}
	if !there.Exists {
		create := map[string]any{"vectors": vectorParams{Size: dim, Distance: "Cosine"}}
		return c.call(ctx, http.MethodPut, "", create, nil)
	}
	var info struct {
		Config struct {
			Params struct{ Vectors vectorParams }
		}
	}
	if err := c.call(ctx, http.MethodGet, "", nil, &info); err != nil {
		return err
	}
	if size := info.Config.Params.Vectors.Size; size != dim {
		return fmt.Errorf("the collection %s holds vectors of %d numbers, and these have %d; give another", c.name, size, dim)
	}
	return nil
}

// point is a row in the form that Qdrant takes.
type point struct {
	ID      string            `json:"id"`
	Vector  []float32         `json:"vector"`
	Payload map[string]string `json:"payload"`
}

// numbersAtOnce keeps a request to about 12 MB: Qdrant refuses requests above 32 MB.
const numbersAtOnce = 1 << 20

// Put writes rows and waits until they are stored.
func (c *collection) Put(ctx context.Context, rows []vectors.Row) error {
	if len(rows) == 0 {
		return nil
	}
	for part := range slices.Chunk(rows, max(1, numbersAtOnce/max(1, len(rows[0].Vector)))) {
		if err := c.put(ctx, part); err != nil {
			return fmt.Errorf("write %d points to Qdrant: %w", len(part), err)
		}
	}
	return nil
}

// put writes rows in one request.
func (c *collection) put(ctx context.Context, rows []vectors.Row) error {
	points := make([]point, len(rows))
	for i, r := range rows {
		points[i] = point{ID: pointID(r.Path), Vector: r.Vector, Payload: map[string]string{"path": r.Path}}
		if r.Label != "" {
			points[i].Payload["label"] = r.Label
		}
	}
	return c.call(ctx, http.MethodPut, "/points?wait=true", map[string]any{"points": points}, nil)
}

func (c *collection) Close() error {
	c.client.CloseIdleConnections()
	return nil
}

// call sends a request for the collection, and decodes the answer's "result" into result, if that
// is not nil.
func (c *collection) call(ctx context.Context, method, path string, body, result any) error {
	var send io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return err
		}
		send = bytes.NewReader(raw)
	}
	r, err := http.NewRequestWithContext(ctx, method, c.url+path, send)
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	if c.key != "" {
		r.Header.Set("Api-Key", c.key)
	}
	response, err := c.client.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	return answer(response, result)
}

// longestAnswer limits how much of an answer is read. Answers are a few hundred bytes long.
const longestAnswer = 1 << 20

// answer reads a response. Qdrant's errors have their reason under "status".
func answer(response *http.Response, result any) error {
	raw, err := io.ReadAll(io.LimitReader(response.Body, longestAnswer))
	if err != nil {
		return err
	}
	var a struct {
		Result json.RawMessage
		Status any
	}
	if response.StatusCode != http.StatusOK {
		reason := ""
		if json.Unmarshal(raw, &a) == nil {
			if status, ok := a.Status.(map[string]any); ok && status["error"] != nil {
				reason = fmt.Sprintf(": %.200v", status["error"])
			}
		}
		return fmt.Errorf("the server answers %s%s", response.Status, reason)
	}
	if err := json.Unmarshal(raw, &a); err != nil {
		return fmt.Errorf("the server's answer is none of Qdrant's: %w", err)
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(a.Result, result); err != nil {
		return fmt.Errorf("the server's answer is none of Qdrant's: %w", err)
	}
	return nil
}

// urlSpace is RFC 9562's name space of URLs, 6ba7b811-9dad-11d1-80b4-00c04fd430c8.
var urlSpace = [16]byte{0x6b, 0xa7, 0xb8, 0x11, 0x9d, 0xad, 0x11, 0xd1, 0x80, 0xb4, 0x00, 0xc0, 0x4f, 0xd4, 0x30, 0xc8}

// pointID makes a point's ID from its path. Qdrant's IDs are numbers or UUIDs. The same path has
// the same ID in every run, so a row replaces itself.
func pointID(path string) string {
	id := uuid5(uuid5(urlSpace, "moco/vectordb"), path)
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}

// uuid5 is the UUID of a name in a name space (RFC 9562, section 5.5): a SHA-1 sum, cut, with
// version and variant in their bits.
func uuid5(space [16]byte, name string) (id [16]byte) {
	sum := sha1.Sum(append(space[:], name...))
	copy(id[:], sum[:])
	id[6] = id[6]&0x0f | 0x50
	id[8] = id[8]&0x3f | 0x80
	return id
}
