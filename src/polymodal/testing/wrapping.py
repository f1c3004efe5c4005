"""Checks that a method around another one passes on to it what training says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from polymodal.methods.base import Method
from polymodal.testing.subject import NotApplicable, Subject, expect
from polymodal.testing.training import train_briefly

HOOKS = ("prepare", "begin", "stepped")


def a_method_inside_is_told_its_phases(subject: Subject) -> None:
    """A method that holds another one tells it each of its phases and updates: sets its ``now``."""
    for name, inner, seen in _watched(subject):
        wanted = {(p.name, u.name if u else "") for p in inner.phases() for u in p.updates or (None,)}
        missed = sorted("/".join(filter(None, pair)) for pair in wanted - seen["now"])
        expect(
            not missed,
            f"{name} was never told of its phases {missed}; forward phases() and now, or derive from Wrapper",
        )


def a_method_inside_gets_its_hooks(subject: Subject) -> None:
    """``prepare``, ``begin`` and ``stepped`` reach the method inside."""
    for name, _, seen in _watched(subject):
        missed = [hook for hook in HOOKS if not seen[hook]]
        expect(not missed, f"{name} never gets {', '.join(missed)}(); forward the call, or derive from Wrapper")


def a_method_inside_keeps_its_parameter_groups(subject: Subject) -> None:
    """Its parameters stay in groups of the same name and rate: what is pre-trained keeps its own learning rate."""
    method = subject.method()
    outer = {n: (g.name, g.rate) for g in method.parameter_groups() for n in g.parameters}
    for name, inner in _inside(method):
        for group in inner.parameter_groups():
            lost = [n for n in group.parameters if outer.get(f"{name}.{n}", ("", 0.0)) != (group.name, group.rate)]
            expect(
                not lost,
                f"{name}.{lost and lost[0]} is in group {group.name!r} (rate {group.rate:g}) of the method inside and "
                "not outside; take over its parameter_groups()",
            )


def _watched(subject: Subject) -> Iterator[tuple[str, Method, dict[str, Any]]]:
    """Train for a moment, and yield every method inside with its name and what it was told."""
    method = subject.fresh()
    told = [(name, inner, _watch(inner)) for name, inner in _inside(method)]
    every = max([u.every for p in method.phases() for u in p.updates], default=1)
    train_briefly(method, subject.batch(), every)
    yield from told


def _inside(method: Method) -> list[tuple[str, Method]]:
    """Return the methods inside that train by gradient, by name; frozen ones (teachers) are told what one likes."""
    found = [
        (name, inner)
        for name, inner in method.named_modules()
        if name and isinstance(inner, Method) and any(p.requires_grad for p in inner.parameters())
    ]
    if not found:
        raise NotApplicable("it holds no other method that trains")
    return found


def _watch(inner: Method) -> dict[str, Any]:
    """Note in the dictionary returned whatever ``inner`` is told from now on."""
    seen: dict[str, Any] = {"now": set(), **dict.fromkeys(HOOKS, 0)}
    cls: Any = type(inner)

    def note(self: Method, name: str, value: Any) -> None:
        if name == "now":
            seen["now"].add((value.phase, value.update))
        cls.__setattr__(self, name, value)

    def counted(hook: str) -> Any:
        def call(self: Method, *words: Any) -> None:
            seen[hook] += 1
            getattr(cls, hook)(self, *words)

        return call

    # A subclass, and no wrapper: whoever holds the method, however it calls it, meets the one that takes notes.
    inner.__class__ = type(cls.__name__, (cls,), {"__setattr__": note, **{hook: counted(hook) for hook in HOOKS}})
    return seen
