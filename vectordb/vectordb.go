// Package vectordb puts embeddings into vector databases: PostgreSQL with the pgvector extension,
// and Qdrant.
//
// A row is identified by its path. A row that is written again replaces itself, so a transfer that
// was stopped can simply start over.
package vectordb

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"moco/vectors"
)

// Database takes rows.
type Database interface {
	// Put writes rows. A row replaces the one with the same path. After an error, PostgreSQL has
	// none of the rows; Qdrant may have some.
	Put(ctx context.Context, rows []vectors.Row) error
	// Close ends the connection.
	Close() error
}

// Check returns an error if Open would not understand the address. It makes no connection.
func Check(address string) error {
	_, _, err := parse(address)
	return err
}

// Open connects to a database. If there is no table or collection for vectors of dim numbers yet,
// Open makes it:
//
//   - postgres://user:password@host:port/database?table=moco_embeddings: a table with the columns
//     path (the primary key), label and embedding, a vector(dim) of pgvector. Open creates the
//     extension if the user may. Other parameters are PostgreSQL's own, such as sslmode. The
//     environment gives the missing parts, as for psql.
//   - qdrant://:apikey@host:6333/collection?tls=true: a collection with cosine distance; each point's
//     payload has path and label. The key and tls may be left out. The port is that of REST.
//
// A table or collection for vectors of another length is an error.
func Open(ctx context.Context, address string, dim int) (Database, error) {
	u, open, err := parse(address)
	if err != nil {
		return nil, err
	}
	d, err := open(ctx, u, dim)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", u.Redacted(), err)
	}
	return d, nil
}

type opener func(ctx context.Context, u *url.URL, dim int) (Database, error)

func parse(address string) (*url.URL, opener, error) {
	u, err := url.Parse(address)
	// The error's text would repeat the address with its password.
	if err != nil {
		return nil, nil, errors.New("the address of a database cannot be read; write postgres://... or " +
			"qdrant://HOST:PORT/COLLECTION, with special characters in a password as %XX")
	}
	switch u.Scheme {
	case "postgres", "postgresql":
		return u, openPostgres, nil
	case "qdrant":
		if name := strings.Trim(u.Path, "/"); name == "" || strings.Contains(name, "/") {
			return nil, nil, fmt.Errorf("%s names no collection; write qdrant://HOST:PORT/COLLECTION", u.Redacted())
		}
		return u, openQdrant, nil
	}
	return nil, nil, fmt.Errorf("%s is no database that is known; write postgres://... or qdrant://HOST:PORT/COLLECTION", u.Redacted())
}
