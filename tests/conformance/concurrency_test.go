package conformance

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
)

func name(prefix string, numbers ...int) string {
	return fmt.Sprintf("%s-%v", prefix, numbers)
}

// together calls work n times at once.
func together(n int, work func(i int)) {
	var all sync.WaitGroup
	begin := make(chan struct{})
	for i := range n {
		all.Go(func() {
			<-begin
			work(i)
		})
	}
	close(begin)
	all.Wait()
}

func TestManyPreparesAtOnce(t *testing.T) {
	d, ctx := started(t), namespaced(t)
	const n = 256
	var sources sync.Map
	together(n, func(i int) {
		mounts, err := d.snapshotter.Prepare(ctx, name("key", i), "")
		if err != nil {
			t.Error(err)
			return
		}
		if _, taken := sources.LoadOrStore(mounts[0].Source, i); taken {
			t.Errorf("%s given out twice", mounts[0].Source)
		}
		if _, err := os.Stat(mounts[0].Source); err != nil {
			t.Error(err)
		}
	})
	seen := 0
	err := d.snapshotter.Walk(ctx, func(_ context.Context, _ snapshots.Info) error { seen++; return nil })
	if err != nil || seen != n {
		t.Errorf("%d snapshots, %v", seen, err)
	}
}

func TestOneOfManyGetsTheKey(t *testing.T) {
	d, ctx := started(t), namespaced(t)
	var won atomic.Int32
	together(64, func(int) {
		switch _, err := d.snapshotter.Prepare(ctx, "key", ""); {
		case err == nil:
			won.Add(1)
		case !errdefs.IsAlreadyExists(err):
			t.Error(err)
		}
	})
	if won.Load() != 1 {
		t.Errorf("%d winners", won.Load())
	}
	d.cleanup(t)
	if n := d.directories(t); n != 1 {
		t.Errorf("%d directories", n)
	}
}

func TestOneOfManyCommitsTheName(t *testing.T) {
	d, ctx := started(t), namespaced(t)
	const n = 64
	together(n, func(i int) {
		if _, err := d.snapshotter.Prepare(ctx, name("key", i), ""); err != nil {
			t.Error(err)
		}
	})
	var won atomic.Int32
	together(n, func(i int) {
		switch err := d.snapshotter.Commit(ctx, "name", name("key", i)); {
		case err == nil:
			won.Add(1)
		case !errdefs.IsAlreadyExists(err):
			t.Error(err)
		}
	})
	if won.Load() != 1 {
		t.Errorf("%d winners", won.Load())
	}
	// The others are still there to be removed.
	var left atomic.Int32
	together(n, func(i int) {
		if d.snapshotter.Remove(ctx, name("key", i)) == nil {
			left.Add(1)
		}
	})
	if left.Load() != n-1 {
		t.Errorf("%d left", left.Load())
	}
}

// Layers left to containerd: each client gets a snapshot of its own to unpack into.
func TestManyPreparesOfOneLayer(t *testing.T) {
	d, ctx := started(t), namespaced(t)
	labels := snapshots.WithLabels(map[string]string{"containerd.io/snapshot.ref": "sha256:1"})
	together(256, func(i int) {
		if _, err := d.snapshotter.Prepare(ctx, name("key", i), "", labels); err != nil {
			t.Error(err)
		}
	})
	together(256, func(i int) {
		if _, err := d.snapshotter.Mounts(ctx, name("key", i)); err != nil {
			t.Error(err)
		}
	})
}

func TestChildrenAndRemovalOfTheirParentAtOnce(t *testing.T) {
	d, ctx := started(t), namespaced(t)
	for round := range 20 {
		base, child := name("base", round), name("child", round)
		if _, err := d.snapshotter.Prepare(ctx, base+"-key", ""); err != nil {
			t.Fatal(err)
		}
		if err := d.snapshotter.Commit(ctx, base, base+"-key"); err != nil {
			t.Fatal(err)
		}
		var prepared, removed error
		together(2, func(i int) {
			if i == 0 {
				_, prepared = d.snapshotter.Prepare(ctx, child, base)
			} else {
				removed = d.snapshotter.Remove(ctx, base)
			}
		})
		switch {
		case prepared == nil && errdefs.IsFailedPrecondition(removed):
			if _, err := d.snapshotter.Mounts(ctx, child); err != nil {
				t.Error(err)
			}
		case errdefs.IsNotFound(prepared) && removed == nil:
		default:
			t.Errorf("prepare: %v, remove: %v", prepared, removed)
		}
	}
}
