"""Reading other people's pickles without running what is in them.

A list of allowed names is not enough. ``numpy.ndarray`` called with a buffer, or a ``numpy.dtype`` whose flags are
rewritten by its state, turns bytes of the file into object pointers (both crash the interpreter, and can do worse).
So NumPy's names are mapped to functions that rebuild only what NumPy itself writes (``data.pickle_values``), the
instructions that call something or set a state are taken over, and what they may ask for is counted
(``data.pickle_limits``). That needs the unpickler written in Python; arrays are single instructions, so it costs
nothing for the files of the field. To read the instructions alone first would cost a second reading of the file, and
would not show what is shared.
"""

from __future__ import annotations

import pickle
import struct
from pathlib import Path
from typing import Any

from polymodal.core import DataError
from polymodal.core.files import check_regular
from polymodal.data.pickle_limits import Excess, Limits
from polymodal.data.pickle_values import Refused
from polymodal.data.unpickler import Unpickler

_DAMAGE = (
    pickle.UnpicklingError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    RecursionError,
    SystemError,
    TypeError,
    ValueError,
    struct.error,
)
"""What the unpickler raises on bytes that are not a pickle; it promises no common type."""


def read_pickle(path: str | Path) -> Any:
    """Return the arrays, numbers, strings and containers in the pickle ``path``; nothing in it can run.

    Protocols 0 to 5 and Python 2 (strings decoded as latin1). Arrays of numbers, strings and objects; no structured
    arrays, no dates, no tensors, no data frames.

    Raises:
        DataError: the file is missing, empty, damaged, no pickle, asks for anything else than the above, or for more
            memory than a file of its size should; nothing in it is printed but names and types.
    """
    file = Path(path)
    check_regular(file)
    try:
        with file.open("rb") as stream:
            size = file.stat().st_size
            if not size:
                raise DataError(f"{file} is empty; copy or download it again")
            limits = Limits(size)
            content = Unpickler(stream, size, limits).load()
            limits.whole(content)
            return content
    except FileNotFoundError:
        raise DataError(f"{file} does not exist; check the path") from None
    except IsADirectoryError:
        raise DataError(f"{file} is a folder, not a pickle; name a file in it") from None
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}") from None
    except Excess as excess:
        raise DataError(f"the pickle {file} {excess}") from None
    except Refused as refused:
        raise DataError(
            f"the pickle {file} wants to run {_one_line(refused)}; it was not loaded, because only arrays, "
            "numbers, strings and containers are accepted: save it again as plain NumPy arrays"
        ) from None
    except EOFError:
        raise DataError(f"the pickle {file} ends in the middle; copy or download it again") from None
    except _DAMAGE as error:
        if "exhausted" in str(error):  # inside a frame, the standard class does not raise EOFError
            raise DataError(f"the pickle {file} ends in the middle; copy or download it again") from None
        reason = _one_line(error) or type(error).__name__
        raise DataError(f"{file} is damaged or not a pickle ({reason}); copy or download it again") from None


def _one_line(error: Exception) -> str:
    """Return the message without what the file could slip into a terminal."""
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in str(error))[:120]
