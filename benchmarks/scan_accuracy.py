"""What the scanner finds and what it wrongly refuses, beside other scanners, in one run.

Method: every scanner sits in an environment of its own and scans the same samples in the same shuffled order in one warm process,
without network where the machine allows that, at most a minute a sample. A sample ends as `flag` (called unsafe), `clean` (vouched for) or
`noscan` (skipped, unsupported, failed). Of Fastness, block and review are flags and incomplete is noscan. Rates stand with their
95 % Wilson intervals. CPU time is the process's own, a sample; memory is the highest of the process over the whole run.

Caveats: what is malicious in the tiers abuse and policy is a judgement. The malicious samples are the ones that this scanner was made with, so
recall on others is lower or equal. The honest files were written by today's libraries with tiny models: they differ in structure and
not in size, several come from one library, and the true rate among users' files may lie outside of the interval. Peers are run with their
default settings; one that needs a library to read a format has it.

Without --corpus only false alarms are measured, on what the installed libraries write (`python -m tools.artifacts`).

    python benchmarks/scan_accuracy.py [--corpus DIR] [--benign DIR] [--peers NAMES] [--environments DIR] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIMIT_S = 60
SMALL_BYTES = 1 << 20
Outcome = tuple[str, str]
Scan = Callable[[str], Outcome]
TIERS = ("exec", "abuse", "policy")


# ---------------------------------------------------------------- the scanners, each within its own environment
def fastness() -> Scan:
    """This scanner, in this process."""
    sys.path.insert(0, str(ROOT / "src"))
    from fastness.models.scan import Outcome as Word
    from fastness.models.scan import scan_paths

    worst = (Word.BLOCK, Word.REVIEW, Word.INCOMPLETE, Word.PASS)

    def scan(path: str) -> Outcome:
        found = {report.outcome for report in scan_paths([Path(path)])}
        word = next(word for word in worst if word in found)
        kind = {Word.BLOCK: "flag", Word.REVIEW: "flag", Word.INCOMPLETE: "noscan", Word.PASS: "clean"}[word]
        return kind, word.value

    return scan


def picklescan() -> Scan:
    """picklescan; what it calls suspicious is no flag."""
    from picklescan import scanner

    def scan(path: str) -> Outcome:
        look = scanner.scan_directory_path if Path(path).is_dir() else scanner.scan_file_path
        seen = look(path)
        if seen.issues_count:
            return "flag", "dangerous"
        return ("noscan", "error or skipped") if seen.scan_err or not seen.scanned_files else ("clean", "")

    return scan


def modelscan() -> Scan:
    """ModelScan; any severity is a flag."""
    from modelscan.modelscan import ModelScan

    def scan(path: str) -> Outcome:
        report = ModelScan().scan(path)
        if report["summary"]["total_issues"]:
            return "flag", "issues"
        read = report["summary"]["scanned"]["total_scanned"] and not report.get("errors")
        return ("clean", "") if read else ("noscan", "skipped or error")

    return scan


def fickling() -> Scan:
    """Fickling; whatever it does not call safe is a flag."""
    import zipfile

    from fickling import loader

    def one(path: str) -> Iterator[str]:
        seen = loader.scan_zip_archive(path) if zipfile.is_zipfile(path) else loader.scan_file(path)
        for result in seen.values() if isinstance(seen, dict) else seen if isinstance(seen, list) else [seen]:
            yield "flag" if not result.is_safe else "clean" if result.results and not result.errors else "noscan"

    def scan(path: str) -> Outcome:
        found = Counter[str]()
        for file in files_of(path):
            try:
                found.update(one(file))
            except Exception:
                found["noscan"] += 1
        return next(((kind, "") for kind in ("flag", "clean") if found[kind]), ("noscan", ""))

    return scan


def safeloadai() -> Scan:
    """safeloadai; SUSPICIOUS and MALICIOUS are flags."""
    import safeloadai as library

    def scan(path: str) -> Outcome:
        results = [library.scan(file).verdict for file in files_of(path)]
        words = {str(getattr(verdict, "value", verdict)) for verdict in results}
        if words & {"MALICIOUS", "SUSPICIOUS"}:
            return "flag", "block" if "MALICIOUS" in words else "review"
        return ("clean", "") if words == {"CLEAN"} else ("noscan", "unsupported or error")

    return scan


def modelaudit() -> Scan:
    """modelaudit; warnings and what is worse are flags."""
    from modelaudit.core import scan_model_directory_or_file

    def scan(path: str) -> Outcome:
        report = scan_model_directory_or_file(path, timeout=LIMIT_S, cache_enabled=False)
        severities = {str(getattr(issue.severity, "value", issue.severity)) for issue in report.issues}
        if severities & {"critical", "warning"}:
            return "flag", "block" if "critical" in severities else "review"
        failed = getattr(report, "has_errors", False) or not report.files_scanned
        return ("noscan", "errors") if failed else ("clean", "")

    return scan


@dataclass(frozen=True)
class Peer:
    """How a scanner is installed and called, and what its environment takes on disk."""

    requirements: tuple[str, ...]
    adapter: Callable[[], Scan]
    megabytes: int


PEERS = {
    "picklescan": Peer(("picklescan==1.0.5", "numpy", "py7zr"), picklescan, 120),
    "modelscan": Peer(("modelscan==0.8.8", "h5py", "tensorflow-cpu==2.21.0"), modelscan, 1600),
    "fickling": Peer(("fickling==0.1.12", "typing_extensions"), fickling, 30),
    "safeloadai": Peer(("safeloadai==0.9.0",), safeloadai, 90),
    "modelaudit": Peer(("modelaudit[all]==0.2.54",), modelaudit, 6400),
}
DEFAULT_PEERS = "picklescan,modelscan,fickling"


def files_of(path: str) -> list[str]:
    """The file, or the files of the folder."""
    found = Path(path)
    return [str(file) for file in sorted(found.rglob("*")) if file.is_file()] if found.is_dir() else [path]


# ---------------------------------------------------------------- one worker a scanner
class TooLongError(Exception):
    """A sample took more than the limit."""


@contextmanager
def bounded() -> Iterator[None]:
    """Silence what the scanner prints, and stop it at the limit."""

    def ring(*_: object) -> None:
        raise TooLongError

    kept, nowhere = (os.dup(1), os.dup(2)), os.open(os.devnull, os.O_WRONLY)
    signal.signal(signal.SIGALRM, ring)
    for number in (1, 2):
        os.dup2(nowhere, number)
    signal.alarm(LIMIT_S)
    try:
        yield
    finally:
        signal.alarm(0)
        for number, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, number)
            os.close(copy)
        os.close(nowhere)


def used() -> tuple[float, int]:
    """CPU seconds and the highest memory in MB, of this process and those it waited for."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in usages), max(one.ru_maxrss for one in usages) // 1024


def work(name: str, jobs: str, out: str) -> None:
    """Scan all samples in this process; a line of JSON each."""
    import logging

    logging.disable(logging.CRITICAL)
    scan = fastness() if name == "fastness" else PEERS[name].adapter()
    with Path(out).open("w") as file:
        for key, path in json.loads(Path(jobs).read_text()):
            before = used()[0]
            try:
                with bounded():
                    outcome, why = scan(path)
            except TooLongError:
                outcome, why = "noscan", "time"
            except Exception as error:
                outcome, why = "noscan", type(error).__name__
            after, peak = used()
            file.write(json.dumps([key, outcome, why, after - before, peak]) + "\n")
            file.flush()


@dataclass(frozen=True)
class Result:
    """What one scanner said of one sample."""

    outcome: str
    why: str
    cpu_s: float = 0.0
    peak_mb: int = 0


@dataclass(frozen=True)
class Sample:
    """One labelled sample: a file, or a folder of files that belong together."""

    key: str
    path: Path
    label: str
    tier: str
    size: int


def environment(name: str, folder: Path) -> Path:
    """The Python of a peer's environment, which is made where it is missing."""
    if name == "fastness":
        return Path(sys.executable)
    python = folder / name / "bin" / "python"
    if not python.exists():
        print(f"      installing {name}, about {PEERS[name].megabytes} MB", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder / name)], check=True)
        pip = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        subprocess.run([*pip, *PEERS[name].requirements], check=True)
    return python


def run(name: str, samples: list[Sample], python: Path) -> dict[str, Result]:
    """All samples through one scanner."""
    cut = subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False).returncode == 0
    with tempfile.TemporaryDirectory() as scratch:
        jobs, out = Path(scratch, "jobs.json"), Path(scratch, "out.jsonl")
        jobs.write_text(json.dumps([(sample.key, str(sample.path.absolute())) for sample in samples]))
        command = [str(python), str(Path(__file__).absolute()), "--worker", name, str(jobs), str(out)]
        quiet = {"DO_NOT_TRACK": "1", "NO_ANALYTICS": "1", "PROMPTFOO_DISABLE_TELEMETRY": "1", "HOME": scratch}
        done = subprocess.run(
            [*(["unshare", "-n"] if cut else []), *command], env={**os.environ, **quiet}, cwd=scratch, capture_output=True, text=True, check=False,
        )  # fmt: skip
        lines = out.read_text().splitlines() if out.exists() else []
    found = {key: Result(*rest) for key, *rest in map(json.loads, lines)}
    if len(found) < len(samples):
        print(f"      {name} ended early, {len(samples) - len(found)} samples lost: {done.stderr[-300:]}")
    return {sample.key: found.get(sample.key, Result("noscan", "lost")) for sample in samples}


# ---------------------------------------------------------------- samples
def labelled(corpus: Path) -> Iterator[Sample]:
    """The samples of a corpus with a labels.json; what a person must decide is left out."""
    for row in json.loads((corpus / "labels.json").read_text())["samples"]:
        if row["label"] in {"malicious", "benign"}:
            yield Sample(
                f"corpus/{row['id']}", corpus / row["target"], row["label"], row["tier"] or "corpus", row["bytes"]
            )


def honest(folder: Path) -> Iterator[Sample]:
    """The models that tools.artifacts wrote: FOLDER/FAMILY/NAME/."""
    for model in sorted(path for path in folder.glob("*/*") if path.is_dir()):
        files = [path for path in model.rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in files)
        yield Sample(
            f"{model.parent.name}/{model.name}",
            files[0] if len(files) == 1 else model,
            "benign",
            model.parent.name,
            size,
        )


# ---------------------------------------------------------------- figures
def wilson(hits: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a rate.

    Source: Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 1927.
    """
    if not count:
        return 0.0, 1.0
    z, share = 1.959964, hits / count
    middle, width = (
        share + z * z / (2 * count),
        z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)),
    )
    scale = 1 + z * z / count
    return max(0.0, (middle - width) / scale), min(1.0, (middle + width) / scale)


def rate(hits: int, count: int) -> str:
    """A rate for people, with its interval."""
    low, high = wilson(hits, count)
    return f"{hits}/{count} = {100 * hits / max(1, count):.1f} % ({100 * low:.1f}-{100 * high:.1f})"


def part(samples: list[Sample], label: str, tier: str = "") -> list[Sample]:
    """The samples of a label, and of a tier."""
    return [sample for sample in samples if sample.label == label and tier in {"", sample.tier}]


def hits(samples: list[Sample], found: dict[str, Result], *words: str) -> int:
    """How many ended as one of `words`, by outcome or by what Fastness calls it."""
    return sum(found[sample.key].outcome in words or found[sample.key].why in words for sample in samples)


def median_ms(samples: list[Sample], found: dict[str, Result]) -> float:
    """CPU milliseconds of a small file, the median."""
    return 1000 * statistics.median(
        found[one.key].cpu_s for one in samples if one.size <= SMALL_BYTES and not one.path.is_dir()
    )


def show(name: str, samples: list[Sample], found: dict[str, Result]) -> None:
    """The figures of one scanner."""
    malicious, benign = part(samples, "malicious"), part(samples, "benign")
    print(f"\n{name}")
    for tier in ("", *TIERS) if malicious else ():
        chosen = part(samples, "malicious", tier)
        print(f"      found, {tier or 'all':8} {rate(hits(chosen, found, 'flag'), len(chosen))}")
    if malicious:
        print(f"      vouched for, malicious   {rate(hits(malicious, found, 'clean'), len(malicious))}")
        print(f"      not scanned, malicious   {rate(hits(malicious, found, 'noscan'), len(malicious))}")
    print(f"      honest, called unsafe    {rate(hits(benign, found, 'flag'), len(benign))}")
    if name in {"fastness", "safeloadai", "modelaudit"}:
        print(f"        of these blocked       {rate(hits(benign, found, 'block'), len(benign))}")
        print(f"        and for review         {rate(hits(benign, found, 'review'), len(benign))}")
    print(f"      honest, not scanned      {rate(hits(benign, found, 'noscan'), len(benign))}")
    peak = max(result.peak_mb for result in found.values())
    total = sum(result.cpu_s for result in found.values())
    print(f"      CPU {total:.1f} s in all, median {median_ms(samples, found):.2f} ms a small file; peak {peak} MB")


def families(samples: list[Sample], found: dict[str, Result]) -> None:
    """The false alarms of Fastness by family of honest files, and each of them by name."""
    print("\n      honest files by family")
    for family in sorted({sample.tier for sample in part(samples, "benign")}):
        chosen = part(samples, "benign", family)
        counted = Counter(found[sample.key].why for sample in chosen)
        print(f"      {family:20} {dict(sorted(counted.items()))}")
    for sample in samples:
        why = found[sample.key].why
        if (sample.label == "benign" and why != "pass") or (
            sample.label == "malicious" and why not in {"block", "review"}
        ):
            print(f"        {sample.label:9} {why:10} {sample.tier:8} {sample.key}")


def told(name: str, seen: float, target: float, unit: str, *, least: bool) -> bool:
    """Print one figure against its target."""
    met = seen >= target if least else seen <= target
    print(f"{'PASS' if met else 'MISS'}  {name}: {seen:.2f} {unit}, target {'>=' if least else '<='} {target:g} {unit}")
    return met


def judged(samples: list[Sample], found: dict[str, Result]) -> bool:
    """Print the figures of Fastness against the targets; whether all are met."""
    benign, malicious = part(samples, "benign"), part(samples, "malicious")
    met = True

    def share(chosen: list[Sample], *words: str) -> float:
        return 100 * hits(chosen, found, *words) / max(1, len(chosen))

    if malicious:
        others = [one for one in malicious if one.tier != "exec"]
        met &= told("executing samples found", share(part(samples, "malicious", "exec"), "flag"), 100, "%", least=True)
        met &= told("malicious samples vouched for", share(malicious, "clean"), 0, "%", least=False)
        met &= told("abuse and policy samples found", share(others, "flag"), 95, "%", least=True)
    met &= told("honest files blocked", share(benign, "block"), 1, "%", least=False)
    met &= told("honest files for review", share(benign, "review"), 4, "%", least=False)
    met &= told("honest files incomplete", share(benign, "noscan"), 0, "%", least=False)
    met &= told("CPU of a small file, median", median_ms(samples, found), 3, "ms", least=False)
    met &= told("peak memory", max(result.peak_mb for result in found.values()), 150, "MB", least=False)
    return met


def written(folder: Path) -> Path:
    """Honest files of the libraries that are installed here."""
    command = [sys.executable, "-m", "tools.artifacts", "--out", str(folder)]
    subprocess.run(command, cwd=ROOT, check=False, stderr=subprocess.DEVNULL)
    return folder


def main() -> None:
    """Print the figures; exit status 1 if one is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, help="folder with labels.json and malicious samples")
    parser.add_argument("--benign", type=Path, help="folder that `python -m tools.artifacts` wrote")
    parser.add_argument("--peers", default=DEFAULT_PEERS, help=f"of {', '.join(PEERS)}; empty for none")
    parser.add_argument(
        "--environments", type=Path, default=ROOT / "build" / "scanners", help="where peers are installed"
    )
    parser.add_argument("--out", type=Path, help="write every verdict to this JSON file")
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        work(*given.worker)
        return
    with tempfile.TemporaryDirectory() as scratch:
        samples = [*(labelled(given.corpus) if given.corpus else ()), *honest(given.benign or written(Path(scratch)))]
        met = compare(samples, given)
    sys.exit(not met)


def compare(samples: list[Sample], given: argparse.Namespace) -> bool:
    """Run all scanners over all samples and print what they said; whether the targets are met."""
    random.Random(7).shuffle(samples)
    peers = [name for name in given.peers.split(",") if name]
    left_out = [f"{name} ({PEERS[name].megabytes} MB)" for name in PEERS if name not in peers]
    print(
        f"      {len(part(samples, 'malicious'))} malicious and {len(part(samples, 'benign'))} honest samples; left out: {', '.join(left_out)}"
    )
    results = {}
    for name in ("fastness", *peers):
        try:
            python = environment(name, given.environments)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"      {name} cannot be installed here: {error}")
            continue
        results[name] = run(name, samples, python)
        show(name, samples, results[name])
    families(samples, results["fastness"])
    print()
    if given.out:
        rows = {name: {key: vars(result) for key, result in found.items()} for name, found in results.items()}
        given.out.write_text(json.dumps(rows, indent=1))
    return judged(samples, results["fastness"])


if __name__ == "__main__":
    main()
