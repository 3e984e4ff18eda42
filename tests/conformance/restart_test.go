package conformance

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	api "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
)

// restart kills the process in whatever it is doing and starts it on the same root.
func (d *daemon) restart(t *testing.T) {
	t.Helper()
	if err := d.kill(); err != nil {
		t.Fatal(err)
	}
	if err := d.run(); err != nil {
		t.Fatal(err)
	}
}

func TestEverythingIsThereAfterAKill(t *testing.T) {
	d, ctx := started(t), namespaced(t)
	mounts, err := d.snapshotter.Prepare(ctx, "base-key", "")
	if err != nil {
		t.Fatal(err)
	}
	fill(t, mounts, "file", 100_000)
	if err := d.snapshotter.Commit(ctx, "base", "base-key", snapshots.WithLabels(map[string]string{"a": "b"})); err != nil {
		t.Fatal(err)
	}
	active, err := d.snapshotter.Prepare(ctx, "active", "base")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.snapshotter.View(ctx, "view", "base"); err != nil {
		t.Fatal(err)
	}
	describe := func() string {
		var text string
		for _, key := range []string{"base", "active", "view"} {
			info, err := d.snapshotter.Stat(ctx, key)
			if err != nil {
				t.Fatal(err)
			}
			usage, err := d.snapshotter.Usage(ctx, key)
			if err != nil {
				t.Fatal(err)
			}
			text += fmt.Sprintf("%+v %+v\n", info, usage)
		}
		return text
	}
	before := describe()
	d.restart(t)
	if after := describe(); after != before {
		t.Errorf("before:\n%safter:\n%s", before, after)
	}
	again, err := d.snapshotter.Mounts(ctx, "active")
	if err != nil || !reflect.DeepEqual(again, active) {
		t.Errorf("%v, want %v: %v", again, active, err)
	}
	err = mount.WithTempMount(ctx, again, func(root string) error {
		_, err := os.Stat(filepath.Join(root, "file"))
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// A process killed at a random moment has done what it acknowledged, and nothing half.
func TestAcknowledgedMeansThereAfterAKill(t *testing.T) {
	kills := 30
	if testing.Short() {
		kills = 5
	}
	d, ctx := started(t), namespaced(t)
	// What clients know: committed names, removed names.
	present, absent := map[string]bool{}, map[string]bool{}
	acknowledged := 0
	for round := range kills {
		var lock sync.Mutex
		var all sync.WaitGroup
		alive, end := context.WithCancel(ctx)
		for worker := range 8 {
			all.Go(func() {
				for i := 0; alive.Err() == nil; i++ {
					key, committed := name("key", round, worker, i), name("name", round, worker, i)
					if _, err := d.snapshotter.Prepare(alive, key, ""); err != nil {
						return
					}
					if err := d.snapshotter.Commit(alive, committed, key); err != nil {
						return
					}
					lock.Lock()
					present[committed] = true
					acknowledged += 2
					lock.Unlock()
					if i%3 != 0 {
						continue
					}
					// From here until the reply it may be there or not.
					lock.Lock()
					delete(present, committed)
					lock.Unlock()
					if err := d.snapshotter.Remove(alive, committed); err != nil {
						return
					}
					lock.Lock()
					absent[committed] = true
					acknowledged++
					lock.Unlock()
				}
			})
		}
		time.Sleep(time.Duration(20+rand.IntN(120)) * time.Millisecond)
		if err := d.process.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		end()
		all.Wait()
		d.restart(t)
		d.verify(t, present, absent)
	}
	if acknowledged < kills*10 {
		t.Errorf("only %d operations: the test tests nothing", acknowledged)
	}
	t.Logf("%d acknowledged operations over %d kills", acknowledged, kills)
}

func (d *daemon) verify(t *testing.T, present, absent map[string]bool) {
	t.Helper()
	ctx := namespaced(t)
	found := map[string]bool{}
	err := d.snapshotter.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		found[info.Name] = true
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range present {
		if !found[name] {
			t.Errorf("%s was acknowledged and is gone", name)
		}
	}
	for name := range absent {
		if found[name] {
			t.Errorf("%s was removed and is back", name)
		}
		if _, err := d.snapshotter.Stat(ctx, name); !errdefs.IsNotFound(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Records and directories agree, whatever the moment of death.
	if _, err := d.client.Cleanup(ctx, &api.CleanupRequest{}); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(5 * time.Second)
	for d.directories(t) != len(found) && time.Now().Before(deadline) {
		// The cleanup that every start begins may be under way.
		time.Sleep(10 * time.Millisecond)
	}
	if n := d.directories(t); n != len(found) {
		t.Errorf("%d directories for %d snapshots", n, len(found))
	}
}

func TestTwoProcessesDoNotShareARoot(t *testing.T) {
	d := started(t)
	second := *d
	second.socket += ".second"
	second.log += ".second"
	err := second.run()
	if err == nil {
		_ = second.kill()
		t.Fatal("a second process serves the same root")
	}
	if !strings.Contains(err.Error(), "snapshots.redb") {
		t.Errorf("the reason is not told: %v", err)
	}
}
