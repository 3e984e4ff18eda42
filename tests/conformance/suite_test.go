package conformance

import (
	"context"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/testsuite"
	"github.com/containerd/containerd/v2/pkg/testutil"
)

// TestSuite is containerd's own judgement, unedited. Named "overlayfs", it treats the
// snapshotter as it treats containerd's overlay snapshotter, whose mounts these are.
func TestSuite(t *testing.T) {
	testutil.RequiresRoot(t)
	testsuite.SnapshotterSuite(t, "overlayfs",
		func(_ context.Context, root string) (snapshots.Snapshotter, func() error, error) {
			d, err := start(root)
			if err != nil {
				return nil, nil, err
			}
			return d.snapshotter, d.stop, nil
		})
}
