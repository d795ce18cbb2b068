"""What docs/your-server.md says of programs that are not of this workspace: Redis, Python's server, a CI workflow.

What its own programs do is tried by `cargo test -p loadgen --test recipes`.
"""

import pathlib
import re
import socket
import subprocess
import time

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARIES = ROOT / "target" / "debug"
PAGE = (ROOT / "docs" / "your-server.md").read_text()
# 3: the machine was too busy to measure.
DONE = (0, 3)


def blocks(text, kind):
    return re.findall(rf"^```{kind}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def shell(command, directory):
    path = f"PATH={BINARIES}:$PATH"
    done = subprocess.run(["bash", "-euc", f"{path}\n{command}"], cwd=directory, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=300)
    return done.returncode, done.stdout


@pytest.fixture
def redis(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", tmp_path],
                               stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except ConnectionRefusedError:
            assert time.monotonic() < deadline and process.poll() is None
    yield f"127.0.0.1:{port}"
    process.terminate()
    process.wait(timeout=20)


def test_redis_answers_the_recipe(redis, tmp_path):
    [section] = re.findall(r"^## 3\. .*?(?=^## )", PAGE, re.DOTALL | re.MULTILINE)
    commands = blocks(section, "sh")
    assert len(commands) == 2
    for command in commands:
        code, told = shell(command.replace("127.0.0.1:6379", redis), tmp_path)
        assert code in DONE, told
        assert "FAILED" not in told and "0 failed" in told, told


def test_the_workflow_is_one_and_its_steps_run(tmp_path):
    [text] = blocks(PAGE, "yaml")
    workflow = yaml.safe_load(text)
    # To YAML 1.1 the key `on` is true.
    assert set(workflow) == {"name", True, "jobs"} and workflow[True] == ["push", "pull_request"]
    [job] = workflow["jobs"].values()
    assert job["runs-on"] and job["steps"]
    assert all(("uses" in step) != ("run" in step) for step in job["steps"])
    assert set(job["env"]) == set(re.findall(r"\$(?:\{)?([A-Z_]+)", " ".join(step.get("run", "") for step in job["steps"])))
    server = tmp_path / "server"
    server.write_text('#!/bin/sh\nexec python3 -m http.server --bind 127.0.0.1 "$2"\n')
    server.chmod(0o755)
    [check] = [step["run"] for step in job["steps"] if step.get("run", "").startswith("loadgen check ")]
    code, told = shell(check, tmp_path)
    assert code == 0 and "passed, 0 failed" in told and "pass http::get\n" in told, told
