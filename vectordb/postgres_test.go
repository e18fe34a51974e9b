//go:build unix

package vectordb

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/pgvector/pgvector-go"

	"moco/vectors"
)

// server starts PostgreSQL on the loopback address, in its own folder, and returns its address.
// PostgreSQL refuses to run as root. The test is skipped without PostgreSQL or pgvector.
func server(t *testing.T) string {
	t.Helper()
	bins, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if path, err := exec.LookPath("initdb"); err == nil {
		bins = append(bins, path)
	}
	if len(bins) == 0 {
		t.Skip("PostgreSQL is not installed (Debian: postgresql-15 and postgresql-15-pgvector)")
	}
	bin := filepath.Dir(bins[len(bins)-1])
	dir, err := os.MkdirTemp("", "moco-postgres-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	attr := &syscall.SysProcAttr{}
	if os.Getuid() == 0 {
		nobody, err := user.Lookup("nobody")
		if err != nil {
			t.Skip("PostgreSQL does not run as root, and there is no user nobody")
		}
		uid, _ := strconv.Atoi(nobody.Uid)
		gid, _ := strconv.Atoi(nobody.Gid)
		if err := os.Chown(dir, uid, gid); err != nil {
			t.Fatal(err)
		}
		attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	run := func(name string, args ...string) error {
		c := exec.Command(filepath.Join(bin, name), args...)
		c.SysProcAttr, c.Dir = attr, dir
		if name == "pg_ctl" { // the server keeps its output open
			return c.Run()
		}
		out, err := c.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w: %s", name, err, out)
		}
		return nil
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := free.Addr().(*net.TCPAddr).Port
	free.Close()
	files := filepath.Join(dir, "data")
	if err := run("initdb", "-D", files, "-U", "moco", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(dir, "log")
	if err := run("pg_ctl", "-D", files, "-w", "-l", log, "-o",
		fmt.Sprintf("-F -p %d -c listen_addresses=127.0.0.1 -c unix_socket_directories=", port),
		"start"); err != nil {
		raw, _ := os.ReadFile(log)
		t.Fatalf("start PostgreSQL: %v: %s", err, raw)
	}
	t.Cleanup(func() { run("pg_ctl", "-D", files, "-w", "-m", "immediate", "stop") })
	return fmt.Sprintf("postgres://moco@127.0.0.1:%d/postgres?sslmode=disable", port)
}

// TestPostgres writes to a real server, twice, and asks it for neighbours.
func TestPostgres(t *testing.T) {
	ctx := context.Background()
	address := server(t)
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	var there bool
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'vector')").Scan(&there); err != nil {
		t.Fatal(err)
	}
	if !there {
		if _, err := Open(ctx, address, 3); err == nil || !strings.Contains(err.Error(), "pgvector") {
			t.Errorf("without the extension: %v", err)
		}
		t.Skip("PostgreSQL has no extension vector (Debian: postgresql-15-pgvector)")
	}
	put := func(dim int, rows ...vectors.Row) {
		t.Helper()
		d, err := Open(ctx, address+"&table=my+\"vectors\"", dim)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		if err := d.Put(ctx, rows); err != nil {
			t.Fatal(err)
		}
	}
	put(3, vectors.Row{Path: "a'b/é.png", Label: "cat", Vector: []float32{1, 0, 0}},
		vectors.Row{Path: "c", Vector: []float32{0, 1, 0}})
	put(3, vectors.Row{Path: "c", Label: "dog", Vector: []float32{0, 0.6, 0.8}}, // c again
		vectors.Row{Path: "d", Vector: []float32{0, 0, 1}})
	rows, err := conn.Query(ctx, `SELECT path || '|' || coalesce(label, 'none') || '|' || embedding::text
		FROM "my ""vectors""" ORDER BY embedding <=> $1`, pgvector.NewVector([]float32{0, 0.5, 0.9}))
	if err != nil {
		t.Fatal(err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"c|dog|[0,0.6,0.8]", "d|none|[0,0,1]", "a'b/é.png|cat|[1,0,0]"}; !slices.Equal(got, want) {
		t.Errorf("nearest first, the table holds %q, want %q", got, want)
	}
	if _, err := Open(ctx, address+"&table=my+\"vectors\"", 4); err == nil || !strings.Contains(err.Error(),
		"vectors of 3 numbers") {
		t.Errorf("vectors of another length: %v", err)
	}
	if _, err := conn.Exec(ctx, "CREATE TABLE other (path text)"); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(ctx, address+"&table=other", 3); err == nil || !strings.Contains(err.Error(), "no column embedding") {
		t.Errorf("a table of another kind: %v", err)
	}
	d, err := Open(ctx, address+"&table=my+\"vectors\"", 3)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	err = d.Put(ctx, []vectors.Row{{Path: "new", Vector: []float32{1, 2, 3}}, {Path: "bad\x00", Vector: []float32{1, 2, 3}}})
	var n int
	if e := conn.QueryRow(ctx, `SELECT count(*) FROM "my ""vectors"""`).Scan(&n); err == nil || e != nil || n != 3 {
		t.Errorf("a batch with a row that cannot be: %v, %v; %d rows, want 3 as before", err, e, n)
	}
}
