"""Programs that are not of this workspace read what loadgen writes: Python an interval log, bash its completions."""

import json
import pathlib
import subprocess

import pytest
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARIES = ROOT / "target" / "debug"
LOADGEN = BINARIES / "loadgen"
TAGS = ["response", "service", "lateness", "wait", "read_delay"]
LONGEST = 3600 * 10**9
COMPLETE = """
eval "$("$1" completions bash)"
COMP_WORDS=(loadgen comp); COMP_CWORD=1
_loadgen loadgen comp loadgen
echo "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def server():
    process = subprocess.Popen([BINARIES / "epoll-server", "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True)
    yield process.stdout.readline().split()[-1]
    process.terminate()
    process.wait(timeout=20)


def load(server, directory):
    """Two trials in open loop, as loadgen prints them."""
    done = subprocess.run(
        [LOADGEN, "run", server, "--json", "--rate", "500", "-c", "4", "-d", "1500ms", "--warmup", "50ms",
         "--trials", "2", "--out", directory],
        stdout=subprocess.PIPE, timeout=60)
    # 3: on a busy machine a trial is INVALID, and written all the same.
    assert done.returncode in (0, 3)
    return [json.loads(line) for line in done.stdout.splitlines()]


def sums(log):
    """All intervals of a log added up, for each tag."""
    sums = {tag: HdrHistogram(1, LONGEST, 3) for tag in TAGS}
    reader = HistogramLogReader(str(log), HdrHistogram(1, LONGEST, 3))
    while (interval := reader.get_next_interval_histogram()) is not None:
        sums[interval.get_tag()].add(interval)
    return sums


def test_python_reads_the_interval_log(server, tmp_path):
    trials = load(server, tmp_path / "out")
    assert len(trials) == 2
    for number, trial in enumerate(trials, 1):
        for tag, histogram in sums(tmp_path / "out" / f"trial-{number}.hlog").items():
            figures = trial[f"{tag}_us"]
            assert histogram.get_total_count() == figures["count"] > 0
            if figures["count"] < 1000:
                assert figures["p99"] is None, "fewer than ten samples are beyond it"
                continue
            # Python rounds the rank of a percentile to the nearest sample, loadgen rounds it up.
            one_sample = 100 / figures["count"]
            least, most = (histogram.get_value_at_percentile(99 + step) for step in (-one_sample, one_sample))
            assert least <= round(figures["p99"] * 1000) <= most


def test_python_reads_a_merged_log(server, tmp_path):
    trials = load(server, tmp_path / "out")
    merged = tmp_path / "merged.hlog"
    logs = sorted((tmp_path / "out").glob("trial-*.hlog"))
    subprocess.run([LOADGEN, "merge", *logs, "--out", merged], check=True, stdout=subprocess.DEVNULL, timeout=60)
    for tag, histogram in sums(merged).items():
        assert histogram.get_total_count() == sum(trial[f"{tag}_us"]["count"] for trial in trials)


def test_bash_completes_with_its_script():
    done = subprocess.run(["bash", "-c", COMPLETE, "bash", LOADGEN], check=True, stdout=subprocess.PIPE, text=True, timeout=20)
    assert done.stdout.split() == ["compare", "completions"]
