package vectordb

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"github.com/qdrant/go-client/qdrant"

	"moco/vectors"
)

// collection is one of Qdrant.
type collection struct {
	client *qdrant.Client
	name   string
}

func openQdrant(ctx context.Context, u *url.URL, dim int) (d Database, err error) {
	config := &qdrant.Config{Host: u.Hostname(), Port: 6334, SkipCompatibilityCheck: true, PoolSize: 1}
	if u.Port() != "" {
		if config.Port, err = strconv.Atoi(u.Port()); err != nil {
			return nil, err
		}
	}
	if u.User != nil {
		config.APIKey, _ = u.User.Password()
	}
	if tls := u.Query().Get("tls"); tls != "" {
		if config.UseTLS, err = strconv.ParseBool(tls); err != nil {
			return nil, fmt.Errorf("tls=%s: write tls=true or tls=false", tls)
		}
	}
	client, err := qdrant.NewClient(config)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			client.Close()
		}
	}()
	c := &collection{client, strings.Trim(u.Path, "/")}
	exists, err := client.CollectionExists(ctx, c.name)
	if err != nil {
		return nil, err
	}
	if !exists {
		params := &qdrant.VectorParams{Size: uint64(dim), Distance: qdrant.Distance_Cosine}
		if err := client.CreateCollection(ctx, &qdrant.CreateCollection{CollectionName: c.name, VectorsConfig: qdrant.NewVectorsConfig(params)}); err != nil {
			return nil, err
		}
		return c, nil
	}
	info, err := client.GetCollectionInfo(ctx, c.name)
	if err != nil {
		return nil, err
	}
	if size := info.GetConfig().GetParams().GetVectorsConfig().GetParams().GetSize(); size != uint64(dim) {
		return nil, fmt.Errorf("the collection %s holds vectors of %d numbers, and these have %d; give another", c.name, size, dim)
	}
	return c, nil
}

// pointSpace makes a point's ID of its path: Qdrant's are numbers or UUIDs.
var pointSpace = uuid.NewSHA1(uuid.NameSpaceURL, []byte("moco/vectordb"))

// Put writes rows and waits until they are stored.
func (c *collection) Put(ctx context.Context, rows []vectors.Row) error {
	wait := true
	points := make([]*qdrant.PointStruct, len(rows))
	for i, r := range rows {
		payload := map[string]any{"path": r.Path}
		if r.Label != "" {
			payload["label"] = r.Label
		}
		points[i] = &qdrant.PointStruct{Id: qdrant.NewIDUUID(uuid.NewSHA1(pointSpace, []byte(r.Path)).String()), Vectors: qdrant.NewVectorsDense(r.Vector), Payload: qdrant.NewValueMap(payload)}
	}
	if _, err := c.client.Upsert(ctx, &qdrant.UpsertPoints{CollectionName: c.name, Wait: &wait, Points: points}); err != nil {
		return fmt.Errorf("write %d points to Qdrant: %w", len(rows), err)
	}
	return nil
}

func (c *collection) Close() error { return c.client.Close() }
