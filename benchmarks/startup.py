"""Start-up time of the command line: the minimum of seven runs, beside that of the bare interpreter.

Processor time, of all threads together: what a run takes on a machine with nothing else to do, give or take the disk.

Listing is measured with 100 methods too: a copy of the package in a temporary folder, with copies of its methods.

python benchmarks/startup.py
"""

from __future__ import annotations

import itertools
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import save

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "polymodal --help": ["-m", "polymodal", "--help"],
    "polymodal fit --help": ["-m", "polymodal", "fit", "--help"],
    "polymodal methods": ["-m", "polymodal", "methods"],
    "polymodal methods mmcl": ["-m", "polymodal", "methods", "mmcl"],
    "polymodal data list": ["-m", "polymodal", "data", "list"],
    "python -c 'import torch'": ["-c", "import torch"],
}
METHODS = 100


def seconds(words: list[str], folder: Path | None = None) -> float:
    """Return the processor time of one run in ``folder``, whose packages come first."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], capture_output=True, check=True, cwd=folder)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def grow(folder: Path, count: int) -> None:
    """Copy the package into ``folder`` and its methods until there are ``count``."""
    import polymodal
    from polymodal.methods import method_ids

    source, package = Path(polymodal.__file__).parent, folder / "polymodal"
    shutil.copytree(source, package, ignore=shutil.ignore_patterns("__pycache__"))
    stems = itertools.cycle(name.replace("-", "_") for name in method_ids())
    for number in range(count - len(method_ids())):
        stem = next(stems)
        shutil.copy(package / f"methods/{stem}.py", package / f"methods/{stem}_{number}.py")
    listed = subprocess.run(
        [sys.executable, "-c", "from polymodal.methods import method_ids; print(len(method_ids()))"],
        capture_output=True,
        check=True,
        cwd=folder,
    )
    assert int(listed.stdout) == count


def main() -> None:
    figures = {name: round(min(seconds(words) for _ in range(7)), 3) for name, words in COMMANDS.items()}
    with tempfile.TemporaryDirectory() as folder:
        grow(Path(folder), METHODS)
        many = min(seconds(COMMANDS["polymodal methods"], Path(folder)) for _ in range(7))
    figures[f"polymodal methods, {METHODS} of them"] = round(many, 3)
    for name, value in figures.items():
        print(f"{value:7.3f} s  {name}")
    save("startup", figures)


if __name__ == "__main__":
    main()
