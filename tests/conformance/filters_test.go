package conformance

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sort"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/filters"
)

// walk returns the names that filters select.
func (d *daemon) walk(ctx context.Context, filters ...string) ([]string, error) {
	var names []string
	err := d.snapshotter.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		names = append(names, info.Name)
		return nil
	}, filters...)
	sort.Strings(names)
	return names, err
}

func TestListIsComplete(t *testing.T) {
	d, ctx := started(t), namespaced(t)
	const n = 250
	together(n, func(i int) {
		if _, err := d.snapshotter.Prepare(ctx, name("key", i), ""); err != nil {
			t.Error(err)
		}
	})
	names, err := d.walk(ctx)
	if err != nil || len(names) != n {
		t.Errorf("%d names, %v", len(names), err)
	}
}

// Random text made of what filters are made of is judged as by containerd's own parser.
func TestFiltersAgreeWithContainerd(t *testing.T) {
	d, ctx := started(t), namespaced(t)
	labels := []map[string]string{
		nil,
		{"foo": "bar"},
		{"foo": "foo", "a.b": "x,y"},
		{"containerd.io/snapshot.ref": "sha256:1", "q": `say "hi"`},
	}
	infos := map[string]snapshots.Info{}
	for i, labels := range labels {
		key := name("key", i)
		if _, err := d.snapshotter.Prepare(ctx, key, "", snapshots.WithLabels(labels)); err != nil {
			t.Fatal(err)
		}
		infos[key] = snapshots.Info{Name: key, Kind: snapshots.KindActive, Labels: labels}
	}
	pieces := []string{
		"name", "kind", "parent", "labels", "foo", "a", "b", "q", "bar", "active", ".", ".", ",", "==", "==",
		"!=", "~=", "=", "!", "~", `"`, `"foo"`, `"a.b"`, `"containerd.io/snapshot.ref"`, "sha256:1", `""`,
		`"key-[1]"`, "/^k/", "|b.r|", `"\x66oo"`, `"\u0066"`, `"\146oo"`, `"\q"`, `"\400"`, " ", "\t", "/", "|",
		"'", "é", "\x00", "(", "[", "b*", "-", "_", "0", `\`, `"say \"hi\""`, "labels.foo", "name==", "kind==active",
	}
	random := rand.New(rand.NewPCG(1, 2))
	accepted, matched := 0, 0
	for range 5000 {
		var text strings.Builder
		for range 1 + random.IntN(9) {
			text.WriteString(pieces[random.IntN(len(pieces))])
		}
		filter := text.String()
		oracle, refused := filters.Parse(filter)
		var want []string
		if refused == nil {
			accepted++
			for key, info := range infos {
				if oracle.Match(fields(info)) {
					want = append(want, key)
					matched++
				}
			}
			sort.Strings(want)
		}
		got, err := d.walk(ctx, filter)
		if (err == nil) != (refused == nil) || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%q: %v (%v), containerd: %v (%v)", filter, got, err, want, refused)
		}
	}
	if accepted < 200 || matched < 100 {
		t.Errorf("only %d filters were valid and %d snapshots matched: the test tests nothing", accepted, matched)
	}
	t.Logf("%d valid filters, %d matches", accepted, matched)
}

// fields shows a snapshot to a filter as containerd's own store does.
func fields(info snapshots.Info) filters.Adaptor {
	return filters.AdapterFunc(func(path []string) (string, bool) {
		switch path[0] {
		case "kind":
			return "active", true
		case "name":
			return info.Name, true
		case "parent":
			return info.Parent, true
		case "labels":
			value, ok := info.Labels[strings.Join(path[1:], ".")]
			return value, ok
		}
		return "", false
	})
}
