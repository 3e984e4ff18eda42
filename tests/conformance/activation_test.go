package conformance

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	api "github.com/containerd/containerd/api/services/snapshots/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// activated starts the binary as systemd does, with sockets handed over.
func activated(t *testing.T, sockets int) (process *exec.Cmd, socket string, notified *net.UnixConn) {
	t.Helper()
	directory := t.TempDir()
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(directory, "n"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { notify.Close() })
	// LISTEN_PID is the number of the process that the shell becomes.
	limit, end := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(end)
	process = exec.CommandContext(limit, "/bin/sh", "-c", `LISTEN_PID=$$ exec "$0" "$@"`,
		os.Getenv(binaryVariable), "--root", filepath.Join(directory, "root"), "--address", "fd://")
	process.Env = append(os.Environ(), fmt.Sprintf("LISTEN_FDS=%d", sockets), "NOTIFY_SOCKET="+filepath.Join(directory, "n"))
	for i := range sockets {
		socket = filepath.Join(directory, fmt.Sprintf("s%d", i))
		listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		listener.SetUnlinkOnClose(false)
		t.Cleanup(func() { listener.Close() })
		file, err := listener.File()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { file.Close() })
		process.ExtraFiles = append(process.ExtraFiles, file)
	}
	return process, socket, notify
}

// state is what the process tells systemd next.
func state(t *testing.T, notified *net.UnixConn) string {
	t.Helper()
	buffer := make([]byte, 4096)
	if err := notified.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	n, err := notified.Read(buffer)
	if err != nil {
		t.Fatal(err)
	}
	return string(buffer[:n])
}

func TestASocketOfSystemdIsServed(t *testing.T) {
	process, socket, notified := activated(t, 1)
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	if s := state(t, notified); !strings.Contains(s, "READY=1") {
		t.Errorf("%q instead of ready", s)
	}
	if answer := ask(t.Context(), socket); answer != "NotFound" {
		t.Error(answer)
	}
	if err := process.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if s := state(t, notified); !strings.Contains(s, "STOPPING=1") {
		t.Errorf("%q instead of stopping", s)
	}
	if err := process.Wait(); err != nil {
		t.Error(err)
	}
}

func TestTwoSocketsOfSystemdAreTooMany(t *testing.T) {
	process, _, _ := activated(t, 2)
	output, err := process.CombinedOutput()
	if err == nil || !strings.Contains(string(output), "exactly one") {
		t.Errorf("%v: %s", err, output)
	}
}

const askVariable = "CONFORMANCE_ASK"

// ask makes one request and tells its outcome.
func ask(ctx context.Context, socket string) string {
	connection, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err.Error()
	}
	defer connection.Close()
	_, err = api.NewSnapshotsClient(connection).Stat(ctx, &api.StatSnapshotRequest{Key: "missing"})
	return status.Code(err).String()
}

// Whoever may ask for mounts is root, so only root may ask, even where the socket lets others in.
func TestOtherUsersAreTurnedAway(t *testing.T) {
	d := started(t)
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(own)
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(os.TempDir(), filepath.Base(d.socket)+".ask")
	if err := os.WriteFile(binary, text, 0o755); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(binary)
	as := func(uid uint32) string {
		process := exec.Command(binary)
		process.Dir = "/"
		process.Env = []string{askVariable + "=" + d.socket}
		process.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		output, err := process.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, output)
		}
		return string(output)
	}
	if err := os.Chmod(d.socket, 0o666); err != nil {
		t.Fatal(err)
	}
	if answer := as(0); answer != "NotFound" {
		t.Errorf("root: %s", answer)
	}
	if answer := as(65534); answer != "Unavailable" {
		t.Errorf("nobody: %s", answer)
	}
}
