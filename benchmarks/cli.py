"""How long the command line takes: `fastness --help`, against a bare interpreter in the same run, and the whole demo.

Caveats: wall-clock seconds of whole processes on a shared machine, median of the runs, files in the page cache. The demo
runs once and trains its model on the way.

    python benchmarks/cli.py [--quick]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time

HELP_S = 0.25
DEMO_S = 60.0


def seconds(line: list[str]) -> float:
    """Wall-clock time of one process, which has to succeed."""
    started = time.perf_counter()
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def told(name: str, seen_s: float, target_s: float) -> bool:
    """Print one figure against its target."""
    met = seen_s <= target_s
    print(f"{'PASS' if met else 'MISS'}  {name}: {seen_s:.3f} s, target <= {target_s:g} s")
    return met


def main() -> None:
    """Print the figures; exit status 1 if one is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer runs, and no demo")
    quick = parser.parse_args().quick
    bare, ours = [], []
    for _ in range(3 if quick else 11):
        bare.append(seconds([sys.executable, "-I", "-c", "pass"]))
        ours.append(seconds([sys.executable, "-I", "-m", "fastness", "--help"]))
    median = statistics.median(ours)
    print(f"      bare interpreter: {statistics.median(bare):.3f} s; ratio {median / statistics.median(bare):.1f}")
    met = told("fastness --help", median, HELP_S)
    if not quick:
        with tempfile.TemporaryDirectory(prefix="fd-") as folder:
            line = [sys.executable, "-I", "-m", "fastness", "demo", "--in", folder, "--format", "json"]
            met &= told("fastness demo", seconds(line), DEMO_S)
    sys.exit(not met)


if __name__ == "__main__":
    main()
