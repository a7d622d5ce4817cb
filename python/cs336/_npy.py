"""`.npy` files as read-only memory maps, with one kind of error for whatever is wrong with them."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


def open_npy(path: Path) -> npt.NDArray[Any]:
    """Map the array in a `.npy` file; objects are never unpickled.

    Raises:
        OSError: The file is missing or cannot be read.
        ValueError: It is no `.npy` file, or has more or fewer bytes than its header says.
    """
    try:
        array = np.lib.format.open_memmap(path, mode="r")
        if array.offset + array.nbytes != path.stat().st_size:
            raise ValueError("bytes after the array's end")
    except OSError:
        raise
    except Exception as error:  # a damaged header makes numpy raise TokenError, OverflowError, TypeError, ...
        raise ValueError(
            f"{path} is not a whole .npy file of token ids; write it with `cs336 tokenizer encode`"
        ) from error
    return array
