package conformance

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	api "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/continuity/fs"
)

// Counted as containerd counts: blocks, directories too, hard links once.
func TestUsage(t *testing.T) {
	d, ctx := started(t), namespaced(t)
	mounts, err := d.snapshotter.Prepare(ctx, "key", "")
	if err != nil {
		t.Fatal(err)
	}
	err = mount.WithTempMount(ctx, mounts, func(root string) error {
		file := filepath.Join(root, "file")
		if err := os.WriteFile(file, make([]byte, 1<<20), 0o644); err != nil {
			return err
		}
		if err := os.Link(file, filepath.Join(root, "link")); err != nil {
			return err
		}
		sparse, err := os.Create(filepath.Join(root, "sparse"))
		if err != nil {
			return err
		}
		defer sparse.Close()
		if err := sparse.Truncate(1 << 30); err != nil {
			return err
		}
		if err := os.Symlink("/nowhere", filepath.Join(root, "symlink")); err != nil {
			return err
		}
		return os.MkdirAll(filepath.Join(root, "a/b/c"), 0o755)
	})
	if err != nil {
		t.Fatal(err)
	}
	oracle, err := fs.DiskUsage(ctx, filepath.Join(d.root, "snapshotter/snapshots/1/fs"))
	if err != nil {
		t.Fatal(err)
	}
	want := snapshots.Usage(oracle)
	if want.Inodes != 7 || want.Size < 1<<20 || want.Size > 2<<20 {
		t.Fatalf("the oracle says %+v", want)
	}
	for _, name := range []string{"key", "committed"} {
		if name == "committed" {
			if err := d.snapshotter.Commit(ctx, name, "key"); err != nil {
				t.Fatal(err)
			}
		}
		got, err := d.snapshotter.Usage(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
	if _, err := d.snapshotter.View(ctx, "view", "committed"); err != nil {
		t.Fatal(err)
	}
	if got, err := d.snapshotter.Usage(ctx, "view"); err != nil || got != (snapshots.Usage{}) {
		t.Errorf("view: %+v, %v", got, err)
	}
}

// directories counts what lies in the snapshot directory.
func (d *daemon) directories(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(d.root, "snapshotter/snapshots"))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func (d *daemon) cleanup(t *testing.T) {
	t.Helper()
	if _, err := d.client.Cleanup(namespaced(t), &api.CleanupRequest{}); err != nil {
		t.Fatal(err)
	}
}

func TestCleanupGivesBackWhatWasRemoved(t *testing.T) {
	d, ctx := started(t), namespaced(t)
	for _, key := range []string{"kept", "removed"} {
		mounts, err := d.snapshotter.Prepare(ctx, key, "")
		if err != nil {
			t.Fatal(err)
		}
		fill(t, mounts, "file", 4096)
	}
	if err := d.snapshotter.Remove(ctx, "removed"); err != nil {
		t.Fatal(err)
	}
	d.cleanup(t)
	if n := d.directories(t); n != 1 {
		t.Errorf("%d directories", n)
	}
	if _, err := d.snapshotter.Mounts(ctx, "kept"); err != nil {
		t.Error(err)
	}
	// The key is free for another snapshot, with nothing of the old one in it.
	mounts, err := d.snapshotter.Prepare(ctx, "removed", "")
	if err != nil {
		t.Fatal(err)
	}
	err = mount.WithTempMount(ctx, mounts, func(root string) error {
		entries, err := os.ReadDir(root)
		if len(entries) != 0 {
			t.Errorf("%v", entries)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// containerd may remove a snapshot whose container has not ended yet.
func TestCleanupLeavesAMountedSnapshotAlone(t *testing.T) {
	d, ctx := started(t), namespaced(t)
	if _, err := d.snapshotter.Prepare(ctx, "base-key", ""); err != nil {
		t.Fatal(err)
	}
	if err := d.snapshotter.Commit(ctx, "base", "base-key"); err != nil {
		t.Fatal(err)
	}
	mounts, err := d.snapshotter.Prepare(ctx, "container", "base")
	if err != nil {
		t.Fatal(err)
	}
	err = mount.WithTempMount(ctx, mounts, func(root string) error {
		for _, key := range []string{"container", "base"} {
			if err := d.snapshotter.Remove(ctx, key); err != nil {
				return err
			}
		}
		d.cleanup(t)
		if n := d.directories(t); n != 2 {
			t.Errorf("%d directories while mounted", n)
		}
		return os.WriteFile(filepath.Join(root, "file"), nil, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	d.cleanup(t)
	if n := d.directories(t); n != 0 {
		t.Errorf("%d directories once unmounted", n)
	}
}

// Whatever is mounted where files of a removed snapshot were, it is not deleted with them.
func TestCleanupDoesNotDeleteThroughAMount(t *testing.T) {
	d, ctx := started(t), namespaced(t)
	if _, err := d.snapshotter.Prepare(ctx, "key", ""); err != nil {
		t.Fatal(err)
	}
	precious := filepath.Join(t.TempDir(), "precious")
	if err := os.WriteFile(precious, []byte("data"), 0o644); err != nil {
		t.Fatal(err)
	}
	point := filepath.Join(d.root, "snapshotter/snapshots/1/fs")
	bind := mount.Mount{Type: "bind", Source: filepath.Dir(precious), Options: []string{"rbind", "rw"}}
	if err := bind.Mount(point); err != nil {
		t.Fatal(err)
	}
	defer mount.UnmountAll(point, 0)
	if err := d.snapshotter.Remove(ctx, "key"); err != nil {
		t.Fatal(err)
	}
	d.cleanup(t)
	if _, err := os.Stat(precious); err != nil {
		t.Error(err)
	}
	if err := mount.UnmountAll(point, 0); err != nil {
		t.Fatal(err)
	}
	d.cleanup(t)
	if n := d.directories(t); n != 0 {
		t.Errorf("%d directories", n)
	}
}

func TestCleanupAtTheSameTimeAsEverythingElse(t *testing.T) {
	d, ctx := started(t), namespaced(t)
	const workers, rounds = 8, 10
	var all sync.WaitGroup
	for worker := range workers {
		all.Go(func() {
			for round := range rounds {
				key := name("key", worker, round)
				mounts, err := d.snapshotter.Prepare(ctx, key, "")
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := os.Stat(mounts[0].Source); err != nil {
					t.Error(err)
				}
				if round%2 == 0 {
					if err := d.snapshotter.Remove(ctx, key); err != nil {
						t.Error(err)
					}
				}
			}
		})
		all.Go(func() {
			for range rounds {
				d.cleanup(t)
			}
		})
	}
	all.Wait()
	d.cleanup(t)
	if n := d.directories(t); n != workers*rounds/2 {
		t.Errorf("%d directories, want %d", n, workers*rounds/2)
	}
}
