"""Start-up time of the command line: the minimum of seven runs, beside that of the bare interpreter.

python benchmarks/startup.py
"""

from __future__ import annotations

import subprocess
import sys
import time

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


def seconds(words: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, *words], capture_output=True, check=True)
    return time.perf_counter() - started


def main() -> None:
    figures = {name: round(min(seconds(words) for _ in range(7)), 3) for name, words in COMMANDS.items()}
    for name, value in figures.items():
        print(f"{value:7.3f} s  {name}")
    save("startup", figures)


if __name__ == "__main__":
    main()
