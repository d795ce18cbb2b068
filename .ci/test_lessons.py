"""What docs/lessons.md says of programs that are not of this workspace: bash as a client, strace as a witness.

What its own programs do is tried by `cargo test -p loadgen --test lessons`.
"""

import pathlib
import re
import signal
import subprocess
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARIES = ROOT / "target" / "debug"
LESSONS = (ROOT / "docs" / "lessons.md").read_text()


def start(*command):
    return subprocess.Popen([*command, "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True)


@pytest.fixture
def address():
    process = start(BINARIES / "epoll-server")
    yield process.stdout.readline().split()[-1]
    process.terminate()
    process.wait(timeout=20)


def test_bash_is_a_client(address):
    host, port = address.split(":")
    [block] = re.findall(r"^```\n(exec .*?)^```$", LESSONS, re.DOTALL | re.MULTILINE)
    script = block.replace("/127.0.0.1/7000", f"/{host}/{port}")
    done = subprocess.run(["bash", "-c", script], stdout=subprocess.PIPE, text=True, timeout=20, check=True)
    assert done.stdout == "hello\n"


def test_a_stop_interrupts_epoll_wait(tmp_path):
    """Ctrl-Z and fg: the call returns EINTR, and the server goes on."""
    calls = tmp_path / "calls"
    strace = start("strace", "-o", calls, "-e", "trace=epoll_wait", BINARIES / "epoll-server")
    try:
        strace.stdout.readline()
        [server] = subprocess.run(["pgrep", "-P", str(strace.pid)], stdout=subprocess.PIPE, text=True).stdout.split()
        # The first ones may come before it waits.
        deadline = time.monotonic() + 20
        while not calls.exists() or "EINTR" not in calls.read_text():
            assert time.monotonic() < deadline
            for name in ("STOP", "CONT"):
                subprocess.run(["kill", f"-{name}", server], check=True)
            time.sleep(0.05)
        subprocess.run(["kill", "-TERM", server], check=True)
        assert strace.wait(timeout=20) == 0
    finally:
        strace.send_signal(signal.SIGKILL)
        strace.wait()
