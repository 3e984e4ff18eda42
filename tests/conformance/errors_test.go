package conformance

import (
	"strings"
	"testing"

	api "github.com/containerd/containerd/api/services/snapshots/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
)

// expect fails unless err carries the code and says something on one line.
func expect(t *testing.T, what string, code codes.Code, err error) {
	t.Helper()
	s := status.Convert(err)
	if s.Code() != code {
		t.Errorf("%s: %v, want %v", what, s, code)
	}
	if code != codes.OK && (s.Message() == "" || strings.ContainsAny(s.Message(), "\n\r\x00")) {
		t.Errorf("%s: message %q", what, s.Message())
	}
}

func TestErrorCodes(t *testing.T) {
	d, ctx := started(t), namespaced(t)
	prepare := func(key, parent string, labels map[string]string) error {
		_, err := d.client.Prepare(ctx, &api.PrepareSnapshotRequest{Key: key, Parent: parent, Labels: labels})
		return err
	}
	view := func(key, parent string) error {
		_, err := d.client.View(ctx, &api.ViewSnapshotRequest{Key: key, Parent: parent})
		return err
	}
	commit := func(name, key, parent string) error {
		_, err := d.client.Commit(ctx, &api.CommitSnapshotRequest{Name: name, Key: key, Parent: parent})
		return err
	}
	mounts := func(key string) error {
		_, err := d.client.Mounts(ctx, &api.MountsRequest{Key: key})
		return err
	}
	remove := func(key string) error {
		_, err := d.client.Remove(ctx, &api.RemoveSnapshotRequest{Key: key})
		return err
	}
	stat := func(key string) error {
		_, err := d.client.Stat(ctx, &api.StatSnapshotRequest{Key: key})
		return err
	}
	usage := func(key string) error {
		_, err := d.client.Usage(ctx, &api.UsageRequest{Key: key})
		return err
	}
	update := func(key string, paths ...string) error {
		_, err := d.client.Update(ctx, &api.UpdateSnapshotRequest{
			Info:       &api.Info{Name: key, Labels: map[string]string{"a": "b"}},
			UpdateMask: &fieldmaskpb.FieldMask{Paths: paths},
		})
		return err
	}
	list := func(filters ...string) error {
		stream, err := d.client.List(ctx, &api.ListSnapshotsRequest{Filters: filters})
		if err != nil {
			return err
		}
		for err == nil {
			_, err = stream.Recv()
		}
		if err.Error() == "EOF" {
			return nil
		}
		return err
	}

	expect(t, "prepare", codes.OK, prepare("base-key", "", nil))
	expect(t, "prepare the same key", codes.AlreadyExists, prepare("base-key", "", nil))
	expect(t, "view the same key", codes.AlreadyExists, view("base-key", ""))
	expect(t, "prepare without a key", codes.InvalidArgument, prepare("", "", nil))
	expect(t, "prepare on nothing", codes.NotFound, prepare("a", "missing", nil))
	expect(t, "view of nothing", codes.NotFound, view("a", "missing"))
	expect(t, "prepare on an active parent", codes.InvalidArgument, prepare("a", "base-key", nil))
	expect(t, "commit nothing", codes.NotFound, commit("base", "missing", ""))
	expect(t, "commit without a name", codes.InvalidArgument, commit("", "base-key", ""))
	expect(t, "commit onto nothing", codes.NotFound, commit("base", "base-key", "missing"))
	expect(t, "commit", codes.OK, commit("base", "base-key", ""))
	expect(t, "commit again", codes.NotFound, commit("base2", "base-key", ""))
	expect(t, "mounts of a committed snapshot", codes.FailedPrecondition, mounts("base"))
	expect(t, "mounts of nothing", codes.NotFound, mounts("missing"))
	expect(t, "view", codes.OK, view("view", "base"))
	expect(t, "commit a view", codes.FailedPrecondition, commit("x", "view", ""))
	expect(t, "prepare on a view", codes.InvalidArgument, prepare("a", "view", nil))
	expect(t, "prepare a child", codes.OK, prepare("child", "base", nil))
	expect(t, "commit to a name in use", codes.AlreadyExists, commit("base", "child", ""))
	expect(t, "commit onto itself", codes.AlreadyExists, commit("child", "child", ""))
	expect(t, "change the parent", codes.InvalidArgument, commit("x", "child", "other"))
	expect(t, "remove a parent", codes.FailedPrecondition, remove("base"))
	expect(t, "remove nothing", codes.NotFound, remove("missing"))
	expect(t, "stat nothing", codes.NotFound, stat("missing"))
	expect(t, "usage of nothing", codes.NotFound, usage("missing"))
	expect(t, "update nothing", codes.NotFound, update("missing"))
	expect(t, "update a parent", codes.InvalidArgument, update("base", "parent"))
	expect(t, "update half", codes.InvalidArgument, update("base", "labels", "kind"))
	expect(t, "update a label", codes.OK, update("base", "labels.a"))
	expect(t, "a bad filter", codes.InvalidArgument, list("name="))
	expect(t, "user mapping", codes.Unimplemented,
		prepare("a", "base", map[string]string{"containerd.io/snapshot/uidmapping": "0:1000:10"}))
	expect(t, "layer", codes.OK, prepare("layer", "", map[string]string{"containerd.io/snapshot.ref": "sha256:1"}))
	bare := metadata.NewOutgoingContext(t.Context(), nil)
	_, err := d.client.Prepare(bare, &api.PrepareSnapshotRequest{
		Key: "bare", Labels: map[string]string{"containerd.io/snapshot.ref": "sha256:2"}})
	expect(t, "layer without a namespace", codes.FailedPrecondition, err)
	expect(t, "nothing left of it", codes.NotFound, stat("bare"))

	for _, key := range []string{"child", "view", "layer", "base"} {
		expect(t, "remove "+key, codes.OK, remove(key))
		expect(t, "stat "+key, codes.NotFound, stat(key))
	}
}

// A key is a name, never a path, whatever is in it.
func TestHostileKeys(t *testing.T) {
	d, ctx := started(t), namespaced(t)
	accepted := map[string]bool{
		"../../../../tmp/escape":          true,
		"/etc/passwd":                     true,
		"a\x00b":                          true,
		"line\nfeed \x1b[31m":             true,
		"..":                              true,
		strings.Repeat("é", 16*1024):      true,
		strings.Repeat("k", 32*1024+1):    false,
		strings.Repeat("long", 1024*1024): false,
	}
	for key, ok := range accepted {
		_, err := d.client.Prepare(ctx, &api.PrepareSnapshotRequest{Key: key})
		want := codes.OK
		if !ok {
			want = codes.InvalidArgument
		}
		short := key[:min(len(key), 30)]
		expect(t, short, want, err)
		_, err = d.client.Prepare(ctx, &api.PrepareSnapshotRequest{Key: key})
		if ok {
			want = codes.AlreadyExists
		}
		expect(t, short+" again", want, err)
	}
	many := map[string]string{}
	for i := range 10_000 {
		many[strings.Repeat("l", i%50)+string(rune('a'+i%26))+strings.Repeat("x", i/50)] = "../v"
	}
	_, err := d.client.Prepare(ctx, &api.PrepareSnapshotRequest{Key: "many", Labels: many})
	if code := status.Code(err); code != codes.OK && code != codes.InvalidArgument {
		t.Error(err)
	}
	huge := map[string]string{"l": strings.Repeat("v", 2<<20)}
	_, err = d.client.Prepare(ctx, &api.PrepareSnapshotRequest{Key: "huge", Labels: huge})
	expect(t, "huge label", codes.InvalidArgument, err)
}
