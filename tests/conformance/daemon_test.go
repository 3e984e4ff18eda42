// Package conformance runs the snapshotter binary that SOCI_SNAPSHOTTER names against
// containerd's snapshotter suite, and against a suite for what that one leaves out.
package conformance

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	api "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/proxy"
	"github.com/containerd/containerd/v2/pkg/testutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

const binaryVariable = "SOCI_SNAPSHOTTER"

func TestMain(m *testing.M) {
	if socket := os.Getenv(askVariable); socket != "" {
		fmt.Print(ask(context.Background(), socket))
		return
	}
	flag.Parse()
	// containerd's test utilities skip everything without the flag; a skipped test proves nothing.
	if allowed := flag.Lookup("test.root"); os.Getuid() != 0 || allowed == nil || allowed.Value.String() != "true" {
		fmt.Fprintln(os.Stderr, "these tests mount filesystems: run them as root, with -test.root")
		os.Exit(1)
	}
	binary := os.Getenv(binaryVariable)
	if binary == "" {
		fmt.Fprintf(os.Stderr, "set %s to the snapshotter binary\n", binaryVariable)
		os.Exit(1)
	}
	if _, err := exec.LookPath(binary); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", binaryVariable, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// daemon is one snapshotter process with a root of its own.
type daemon struct {
	root, socket, log string
	process           *exec.Cmd
	ended             chan error // how it ended, once
	connection        *grpc.ClientConn
	client            api.SnapshotsClient
	snapshotter       snapshots.Snapshotter
}

// start runs the binary on root and waits until it answers.
func start(root string) (*daemon, error) {
	d := &daemon{
		root: root,
		// Socket paths are short; test directories are not.
		socket: filepath.Join(os.TempDir(), fmt.Sprintf("conformance-%d-%d.sock", os.Getpid(), serial())),
		log:    filepath.Join(filepath.Dir(root), filepath.Base(root)+".log"),
	}
	if err := d.run(); err != nil {
		return nil, err
	}
	return d, nil
}

var (
	serialLock sync.Mutex
	serialLast int
)

func serial() int {
	serialLock.Lock()
	defer serialLock.Unlock()
	serialLast++
	return serialLast
}

func (d *daemon) run() error {
	log, err := os.OpenFile(d.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	d.process = exec.Command(os.Getenv(binaryVariable), "--root", d.root, "--address", d.socket)
	d.process.Stdout, d.process.Stderr = log, log
	if err := d.process.Start(); err != nil {
		return err
	}
	d.ended = make(chan error, 1)
	go func(process *exec.Cmd, ended chan<- error) { ended <- process.Wait() }(d.process, d.ended)
	deadline := time.Now().Add(20 * time.Second)
	for {
		if c, err := net.Dial("unix", d.socket); err == nil {
			c.Close()
			break
		}
		select {
		case err := <-d.ended:
			text, _ := os.ReadFile(d.log)
			return fmt.Errorf("the snapshotter ended at once (%v):\n%s", err, text)
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(d.log)
			_ = d.kill()
			return fmt.Errorf("no answer on %s after 20 s:\n%s", d.socket, text)
		}
	}
	d.connection, err = grpc.NewClient("unix://"+d.socket,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(16<<20), grpc.MaxCallSendMsgSize(16<<20)))
	if err != nil {
		return err
	}
	d.client = api.NewSnapshotsClient(d.connection)
	d.snapshotter = proxy.NewSnapshotter(d.client, "soci")
	return nil
}

// kill is what a crash looks like.
func (d *daemon) kill() error {
	if d.connection != nil {
		d.connection.Close()
	}
	if err := d.process.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-d.ended
	return nil
}

// stop asks the process to end and requires that it does so properly.
func (d *daemon) stop() error {
	d.connection.Close()
	if err := d.process.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	err := <-d.ended
	text, _ := os.ReadFile(d.log)
	if bytes.Contains(text, []byte("panicked")) {
		return errors.New("the snapshotter panicked:\n" + string(text))
	}
	os.Remove(d.socket)
	if err != nil {
		return fmt.Errorf("%w:\n%s", err, text)
	}
	return nil
}

// started runs a daemon for one test.
func started(t *testing.T) *daemon {
	t.Helper()
	testutil.RequiresRoot(t)
	d, err := start(filepath.Join(t.TempDir(), "root"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.stop(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// namespaced is a context as containerd sends it.
func namespaced(t *testing.T) context.Context {
	return metadata.AppendToOutgoingContext(t.Context(), "containerd-namespace", "conformance")
}

// fill writes one file of size bytes into a prepared snapshot.
func fill(t *testing.T, mounts []mount.Mount, name string, size int) {
	t.Helper()
	err := mount.WithTempMount(t.Context(), mounts, func(root string) error {
		return os.WriteFile(filepath.Join(root, name), bytes.Repeat([]byte{1}, size), 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
}
