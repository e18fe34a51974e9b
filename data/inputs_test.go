package data

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

// Archives that other programs wrote: each is one of a kind that went wrong once.
func TestArchivesOfOthers(t *testing.T) {
	t.Parallel()
	const twoClasses = "cat/00.jpg=cat cat/01.jpg=cat cat/02.jpg=cat cat/03.jpg=cat cat/04.jpg=cat cat/05.jpg=cat " +
		"dog/00.jpg=dog dog/01.jpg=dog dog/02.jpg=dog dog/03.jpg=dog dog/04.jpg=dog dog/05.jpg=dog"
	renamed := func(cat, dog string) string {
		return strings.NewReplacer("cat/", cat+"/", "=cat", "="+filepath.Base(cat), "dog/", dog+"/", "=dog", "="+filepath.Base(dog)).Replace(twoClasses)
	}
	for _, c := range []struct {
		file, kind, want string
		err              error
	}{
		{"hardlink.tar", "tar of class folders", renamed("set/a", "set/b"), nil},
		{"gz_named.tar", "tar.gz of class folders", twoClasses, nil},
		{"zip_named.tar", "zip of class folders", twoClasses, nil},
		{"sjis5c.zip", "zip of class folders", "", nil},
		{"encrypted.zip", "", "", ErrEncrypted},
		{"split/s.zip", "", "", ErrSplit},
		{"split/s.z01", "", "", ErrSplit},
	} {
		t.Run(c.file, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join("testdata", "archives", filepath.FromSlash(c.file))
			s, err := Open(context.Background(), path, Options{})
			if !errors.Is(err, c.err) {
				t.Fatalf("the error is %v, want %v", err, c.err)
			}
			if err != nil {
				if !strings.Contains(err.Error(), c.file) || strings.Contains(err.Error(), "\n") {
					t.Errorf("the error %q is not a sentence that names the file", err)
				}
				return
			}
			defer s.Close()
			if c.file == "sjis5c.zip" { // the second byte of the first letter is a backslash
				c.want = strings.NewReplacer("cat", "\u30bdA").Replace(twoClasses)
				c.want = strings.Join(append(strings.Fields(c.want)[6:], strings.Fields(c.want)[:6]...), " ")
			}
			if got := listing(s); got != c.want || s.Kind() != c.kind {
				t.Errorf("%s: got  %s\nwant %s: %s", s.Kind(), got, c.kind, c.want)
			}
			var m Image
			for i := range s.Len() {
				if err := s.Read(i, &m); err != nil {
					t.Error(err)
				}
			}
		})
	}
}
