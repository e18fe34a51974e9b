package vectordb

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc"

	"moco/vectors"
)

// stand is what of Qdrant's protocol a transfer uses, in memory: a collection with its points by ID.
type stand struct {
	qdrant.UnimplementedCollectionsServer
	size uint64 // 0: there is no collection
}

type standPoints struct {
	qdrant.UnimplementedPointsServer
	mu     sync.Mutex
	points map[string]*qdrant.PointStruct
}

func (s *stand) CollectionExists(context.Context, *qdrant.CollectionExistsRequest) (*qdrant.CollectionExistsResponse, error) {
	return &qdrant.CollectionExistsResponse{Result: &qdrant.CollectionExists{Exists: s.size > 0}}, nil
}

func (s *stand) Create(_ context.Context, r *qdrant.CreateCollection) (*qdrant.CollectionOperationResponse, error) {
	s.size = r.GetVectorsConfig().GetParams().GetSize()
	return &qdrant.CollectionOperationResponse{Result: true}, nil
}

func (s *stand) Get(context.Context, *qdrant.GetCollectionInfoRequest) (*qdrant.GetCollectionInfoResponse, error) {
	return &qdrant.GetCollectionInfoResponse{Result: &qdrant.CollectionInfo{Config: &qdrant.CollectionConfig{Params: &qdrant.CollectionParams{
		VectorsConfig: qdrant.NewVectorsConfig(&qdrant.VectorParams{Size: s.size})}}}}, nil
}

func (s *standPoints) Upsert(_ context.Context, r *qdrant.UpsertPoints) (*qdrant.PointsOperationResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range r.GetPoints() {
		s.points[p.GetId().GetUuid()] = p
	}
	return &qdrant.PointsOperationResponse{Result: &qdrant.UpdateResult{Status: qdrant.UpdateStatus_Completed}}, nil
}

// TestQdrant holds the client to a stand-in that speaks the protocol. It has not met a real server.
func TestQdrant(t *testing.T) {
	ctx := context.Background()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, p := &stand{}, &standPoints{points: map[string]*qdrant.PointStruct{}}
	g := grpc.NewServer()
	qdrant.RegisterCollectionsServer(g, s)
	qdrant.RegisterPointsServer(g, p)
	go g.Serve(listener)
	defer g.Stop()
	address := "qdrant://" + listener.Addr().String() + "/pictures"
	for range 2 { // the second time over what is there
		d, err := Open(ctx, address, 2)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Put(ctx, []vectors.Row{{Path: "a", Label: "cat", Vector: []float32{1, 0}}, {Path: "b", Vector: []float32{0, 1}}}); err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if s.size != 2 || len(p.points) != 2 {
		t.Errorf("%d points of %d numbers, want 2 of 2", len(p.points), s.size)
	}
	for _, p := range p.points {
		_, labelled := p.Payload["label"]
		if path := p.Payload["path"].GetStringValue(); labelled != (path == "a") || p.Payload["label"].GetStringValue() != map[string]string{"a": "cat"}[path] {
			t.Errorf("the payload of %s is %v", path, p.Payload)
		}
	}
	if _, err := Open(ctx, address, 3); err == nil || !strings.Contains(err.Error(), "vectors of 2 numbers") {
		t.Errorf("vectors of another length: %v", err)
	}
}

func TestAddresses(t *testing.T) {
	for address, want := range map[string]string{
		"mysql://me:secret@host/db":     "no database that is known",
		"qdrant://:secret@host":         "names no collection",
		"qdrant://:secret@host/a/b":     "names no collection",
		"postgres://me:secret%@host/db": "%XX",
		"photos.parquet":                "no database that is known",
	} {
		err := Check(address)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s gives %v, want an error that says %q and keeps the password", address, err, want)
		}
	}
	for _, good := range []string{"postgres://localhost/db?table=x", "postgresql:///db", "qdrant://host:6334/photos"} {
		if err := Check(good); err != nil {
			t.Error(err)
		}
	}
	ctx := context.Background()
	for _, nobody := range []string{"postgres://me:secret@127.0.0.1:1/db?sslmode=disable", "qdrant://:secret@127.0.0.1:1/x"} {
		if d, err := Open(ctx, nobody, 3); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("where nobody listens: %v, %v", d, err)
		}
	}
}
