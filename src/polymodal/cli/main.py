"""The ``polymodal`` command: finds the subcommand, parses its words, turns errors into sentences."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from importlib import import_module

from polymodal.core.errors import PolymodalError, nearest
from polymodal.core.limits import out_of_memory
from polymodal.core.text import printable

COMMANDS = {
    "demo": ("demo", "train MMCL on the embedded corpus, test it on every subset of modalities, write a report"),
    "fit": ("fit", "train a method on a corpus"),
    "fit best": ("best", "find what suits a corpus: methods, settings and modalities in a time limit, one run"),
    "fit u-acs": ("cascade", "let a small run answer what it is sure of and a large model the rest"),
    "evaluate": ("evaluate", "score a run on complete input and on every subset of modalities; write its report"),
    "audit": ("audit", "what a model looks at, and what would change its answers"),
    "compare": ("compare", "one table and paired tests for several runs"),
    "bench": ("bench", "methods x corpora x absence and noise x seeds: one leaderboard, resumed where it stopped"),
    "extract": ("extract", "make a corpus from a folder or table of clips"),
    "predict": ("predict", "apply a run to clips, or to camera and microphone"),
    "suggest": ("suggest", "which unlabelled clips, or samples of a corpus, to label next"),
    "measure": ("measure", "voice, pauses, face, head and synchrony in clips: no labels, no training"),
    "ready list": ("ready", "runs that are there by name, and those that can be built"),
    "ready show": ("ready", "what a ready run is, how good, for whom it is not"),
    "ready build": ("ready", "build a ready run from a corpus that you have"),
    "reply": ("reply", "answer a clip as a listener who understood: text, speech, a talking face, marked as synthetic"),
    "serve": ("serve", "answer over HTTP, with a page to drop clips on"),
    "deploy": ("deploy", "make of a run one that needs only some of its modalities"),
    "export": ("export", "write a run as an ONNX graph with a script that predicts without torch and polymodal"),
    "push": ("push", "put a run on a hub, with a model card"),
    "methods": ("methods", "list the methods, or describe one"),
    "data info": ("data", "what is inside a corpus, and what is wrong with it"),
    "data convert": ("data", "write a corpus as a memory-mapped Arrow store"),
    "data list": ("data", "embedded corpora and the layouts that can be read"),
}

PARENTS = ("data", "ready")
"""First words of commands of two words."""

NO_MEMORY = (
    "there is not enough memory for this; end other programs, raise --memory where the command has it, or give it less "
    "at a time: shorter clips, smaller batches (--set batch_size=8)"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0 done, 1 a problem with the input, 2 a wrong command line."""
    # torch's threads spin while they wait for each other: on a machine that also does something else, training took
    # four times as long as with threads that sleep. Must be set before torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _write_anything()
    _end_orderly()
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    if words[0] in ("-V", "--version"):
        from polymodal._version import __version__

        print(f"polymodal {__version__}")
        return 0
    pair = " ".join(words[:2])
    name = pair if words[0] in PARENTS or pair in COMMANDS else words[0]
    if name not in COMMANDS:
        return _wrong_command(words, name)
    try:
        return _run(name, words[len(name.split()) :])
    except PolymodalError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of a pipe has seen enough
        sys.stderr.close()
        return 0
    except (OSError, MemoryError, RuntimeError) as error:
        if out_of_memory(error):
            print(f"error: {NO_MEMORY}", file=sys.stderr)
        elif isinstance(error, OSError):
            place = printable(str(error.filename or ""))
            print(f"error: {error.strerror or error}: {place}".rstrip(": "), file=sys.stderr)
        else:
            raise
        return 1
    except KeyboardInterrupt as stopped:
        how = str(stopped) or "the same command goes on where it was (a fit with --resume)"
        print(f"stopped; {how}", file=sys.stderr)
        return 143 if isinstance(stopped, Terminated) else 130


def _write_anything() -> None:
    """Let no character end a command: what the terminal's encoding does not have is written out."""
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="backslashreplace")


class Terminated(KeyboardInterrupt):
    """SIGTERM came."""


def _end_orderly() -> None:
    """Let SIGTERM do what Ctrl-C does: workers end, locks are let go, one sentence is said."""

    def terminate(*_: object) -> None:
        raise Terminated

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, terminate)


def overview() -> str:
    """Return the help of the command itself."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {line}" for name, (_, line) in COMMANDS.items()]
    return "\n".join(
        [
            "polymodal: learning from text, audio and video at once",
            "",
            "usage: polymodal COMMAND [options]      polymodal COMMAND --help      polymodal --version",
            "",
            *lines,
            "",
            "first steps:",
            "  polymodal demo",
            "  polymodal data info mosi.pkl",
            "  polymodal fit mmcl --data mosi.pkl --seeds 1111,1112,1113",
            "  polymodal fit best --data mosi.pkl --minutes 20",
            "  polymodal extract clips.csv --out stores/mine",
            "  polymodal predict runs/mine clip.mp4 --html clip.html",
        ]
    )


def _wrong_command(words: list[str], name: str) -> int:
    if words[0] in PARENTS and (len(words) == 1 or words[1] in ("-h", "--help")):
        print("\n".join(f"polymodal {n}: {line}" for n, (_, line) in COMMANDS.items() if n.startswith(f"{words[0]} ")))
        return 0
    print(f"error: unknown command {name!r}{nearest(name, COMMANDS)}; see polymodal --help", file=sys.stderr)
    return 2


def _run(name: str, words: list[str]) -> int:
    from polymodal.cli.parser import build_parser

    module = import_module(f"polymodal.cli.{COMMANDS[name][0]}")
    function: Callable[..., int] = getattr(module, name.rpartition(" ")[2].replace("-", "_"))
    parser = build_parser(name, function, module.EXAMPLES[name])
    try:
        values = parser.parse_args(words)
    except SystemExit as done:
        return int(done.code or 0)
    return function(**vars(values))
