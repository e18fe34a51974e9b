package vectordb

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/pgvector/pgvector-go"

	"moco/vectors"
)

// postgres is a table.
type postgres struct {
	conn   *pgx.Conn
	insert string
}

// maxIndexed is the longest vector that pgvector stores.
const maxIndexed = 16000

func openPostgres(ctx context.Context, u *url.URL, dim int) (d Database, err error) {
	if dim > maxIndexed {
		return nil, fmt.Errorf("pgvector holds vectors of at most %d numbers, and these have %d", maxIndexed, dim)
	}
	own := *u
	query := own.Query()
	name := query.Get("table")
	if name == "" {
		name = "moco_embeddings"
	}
	query.Del("table")
	own.RawQuery = query.Encode()
	conn, err := pgx.Connect(ctx, own.String())
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			closePostgres(conn)
		}
	}()
	table := pgx.Identifier{name}.Sanitize()
	var has bool
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'vector')").Scan(&has); err != nil {
		return nil, err
	}
	if !has {
		if _, err := conn.Exec(ctx, "CREATE EXTENSION IF NOT EXISTS vector"); err != nil {
			return nil, fmt.Errorf("the database has no extension vector, and it cannot be created "+
				"(install pgvector on the server, and let a superuser run CREATE EXTENSION vector): %w", err)
		}
	}
	create := fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s (path text PRIMARY KEY, label text, embedding vector(%d) NOT NULL)", table, dim)
	if _, err := conn.Exec(ctx, create); err != nil {
		return nil, fmt.Errorf("create the table %s: %w", name, err)
	}
	var there int
	err = conn.QueryRow(ctx, "SELECT atttypmod FROM pg_attribute "+
		"WHERE attrelid = $1::regclass AND attname = 'embedding' AND NOT attisdropped", table).Scan(&there)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, fmt.Errorf("the table %s is there, and has no column embedding; give another with ?table=NAME", name)
	}
	if err != nil {
		return nil, err
	}
	if there != dim && there != -1 {
		return nil, fmt.Errorf("the table %s holds vectors of %d numbers, and these have %d; give another with ?table=NAME",
			name, there, dim)
	}
	insert := fmt.Sprintf("INSERT INTO %s (path, label, embedding) VALUES ($1, $2, $3) "+
		"ON CONFLICT (path) DO UPDATE SET label = EXCLUDED.label, embedding = EXCLUDED.embedding", table)
	return &postgres{conn: conn, insert: insert}, nil
}

// Put writes rows in one transaction and one exchange of messages.
func (p *postgres) Put(ctx context.Context, rows []vectors.Row) error {
	batch := &pgx.Batch{}
	for _, r := range rows {
		var label *string // null without a label
		if r.Label != "" {
			label = &r.Label
		}
		batch.Queue(p.insert, r.Path, label, pgvector.NewVector(r.Vector))
	}
	// Without BEGIN, a batch is one implicit transaction.
	if err := p.conn.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("write %d rows to PostgreSQL: %w", len(rows), err)
	}
	return nil
}

func (p *postgres) Close() error { return closePostgres(p.conn) }

// closePostgres ends the connection properly, even after the caller's context has ended.
func closePostgres(conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return conn.Close(ctx)
}
