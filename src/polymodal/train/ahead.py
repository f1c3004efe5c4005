"""Batches made by a thread while a GPU works on those before."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

Made = TypeVar("Made")
Order = TypeVar("Order")


@contextmanager
def ahead(make: Callable[[Order], Made], orders: Iterable[Order], depth: int) -> Iterator[Iterator[Made]]:
    """Give an iterator over ``make(order)`` of all ``orders``, in their order.

    A thread makes up to ``depth`` of them before they are asked for. What it raises is raised where the result is
    asked for; it has ended when the block is left.

    Args:
        depth: 0 makes each when it is asked for, without a thread.
    """
    if not depth:
        yield map(make, orders)
        return
    waiting, rest = deque[Callable[[], Made]](), iter(orders)
    pool = ThreadPoolExecutor(1, thread_name_prefix="batches")

    def made() -> Iterator[Made]:
        waiting.extend(pool.submit(make, order).result for order in islice(rest, depth))
        while waiting:
            item = waiting.popleft()()
            waiting.extend(pool.submit(make, order).result for order in islice(rest, 1))
            yield item

    try:
        yield made()
    finally:
        pool.shutdown(cancel_futures=True)
