"""What docs/hosts/kubernetes.yaml says: the schema of the API lets pass what would never measure, so that is held here."""

import copy
import json
import os
import pathlib
import re
import subprocess
import time

import kubernetes_validate
import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARIES = ROOT / "target" / "debug"
MANIFEST = yaml.safe_load((ROOT / "docs/hosts/kubernetes.yaml").read_text())


def container(job):
    [only] = job["spec"]["template"]["spec"]["containers"]
    return only


def faults(job):
    """What keeps the pods from being shards that start together, once each."""
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    environment = {entry["name"]: entry["value"] for entry in container(job)["env"]}
    affinity = pod["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    held = {
        "completionMode": spec["completionMode"] == "Indexed",
        "restartPolicy": pod["restartPolicy"] == "Never",
        "backoffLimit": spec["backoffLimit"] == 0,
        "parallelism": spec["parallelism"] == spec["completions"],
        "SHARDS": environment["SHARDS"] == str(spec["completions"]),
        "affinity": [entry["labelSelector"]["matchLabels"] for entry in affinity] == [spec["template"]["metadata"]["labels"]],
        "resources": container(job)["resources"]["requests"] == container(job)["resources"]["limits"],
    }
    return [name for name, right in held.items() if not right]


def test_the_manifest_is_an_indexed_job_of_the_api():
    kubernetes_validate.validate(MANIFEST, kubernetes_validate.latest_version(), strict=True)
    assert faults(MANIFEST) == []


@pytest.mark.parametrize(("fault", "change"), [
    ("completionMode", lambda job: job["spec"].update(completionMode="Indexd")),
    ("completionMode", lambda job: job["spec"].update(completionMode="NonIndexed")),
    ("restartPolicy", lambda job: job["spec"]["template"]["spec"].update(restartPolicy="Always")),
    ("backoffLimit", lambda job: job["spec"].update(backoffLimit=1)),
    ("parallelism", lambda job: job["spec"].update(parallelism=1)),
    ("SHARDS", lambda job: container(job)["env"][0].update(value="4")),
    ("affinity", lambda job: job["spec"]["template"]["metadata"]["labels"].update(app="other")),
    ("resources", lambda job: container(job)["resources"]["limits"].update(cpu="2")),
])
def test_a_fault_in_it_is_found(fault, change):
    job = copy.deepcopy(MANIFEST)
    change(job)
    assert faults(job) == [fault]


def test_its_command_makes_one_result(tmp_path):
    server = subprocess.Popen([BINARIES / "epoll-server", "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True)
    try:
        address = server.stdout.readline().split()[-1]
        only = container(MANIFEST)
        environment = {entry["name"]: entry["value"] for entry in only["env"]}
        environment["START_AT"] = str(time.time() + 1.5)
        here = {"server:7000": address, "60s": "1s", "/results": str(tmp_path / "results"), "loadgen": str(BINARIES / "loadgen")}
        words = [here.get(word, word) for word in only["command"] + only["args"]]
        words = [re.sub(r"\$\((\w+)\)", lambda name: environment[name[1]], word) for word in words]
        pods = [subprocess.Popen(words, env={**os.environ, **environment, "JOB_COMPLETION_INDEX": str(index)},
                                 stdout=subprocess.DEVNULL, cwd=tmp_path)
                for index in range(MANIFEST["spec"]["completions"])]
        assert [pod.wait(timeout=60) for pod in pods] == [0, 0, 0]
    finally:
        server.terminate()
        server.wait()
    merged = subprocess.run([BINARIES / "loadgen", "merge", tmp_path / "results", "--out", tmp_path / "whole"],
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert merged.returncode == 0, merged.stdout
    [trial] = (tmp_path / "whole").glob("shards/server/*/trial-1.json")
    trial = json.loads(trial.read_text())
    assert trial["connections"] == 30 and abs(trial["scheduled"] - 3000) < 300, trial
    assert len(trial["shards"]) == 3
