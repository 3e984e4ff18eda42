package conformance

import (
	"os"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"
)

// Operators of SOCI snapshotters search for these keys.
func TestEachLayerLeavesOneLine(t *testing.T) {
	d, ctx := started(t), namespaced(t)
	labels := snapshots.WithLabels(map[string]string{
		"containerd.io/snapshot.ref":              "sha256:1",
		"containerd.io/snapshot/cri.image-ref":    "registry.example/image:tag\nforged=true",
		"containerd.io/snapshot/cri.layer-digest": "sha256:2",
	})
	if _, err := d.snapshotter.Prepare(ctx, "key", "", labels); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(d.log)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, "defer-snapshot-runtime") {
			lines = append(lines, line)
		}
		if strings.HasPrefix(line, "forged") {
			t.Errorf("a label starts a line of its own: %q", line)
		}
	}
	if len(lines) != 1 {
		t.Fatalf("%d lines in:\n%s", len(lines), text)
	}
	for _, part := range []string{"true", "registry.example/image:tag", "sha256:2", "reason"} {
		if !strings.Contains(lines[0], part) {
			t.Errorf("%q is not in %s", part, lines[0])
		}
	}
	t.Log(lines[0])
}
