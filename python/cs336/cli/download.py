"""`cs336 download`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from cs336.cli.display import print_result, watch
from cs336.cli.exit import ExitCode


@dataclass(frozen=True, kw_only=True)
class Download:
    """Fetch a corpus of the course: TinyStories (2.2 GB) or its sample of OpenWebText (4.7 GB, 11.9 GB unpacked).

    Stop it whenever you like: the next call goes on. A file gets its name only when it is whole and checked.

    Attributes:
        corpus: Which one.
        folder: Where to put it.
        only: Just the training or just the validation file.
        json: Print the result as JSON.
    """

    corpus: Annotated[Literal["tinystories", "owt"], tyro.conf.Positional]
    folder: Path = Path("data")
    only: Literal["train", "valid"] | None = None
    json: bool = False

    def run(self) -> int:
        """Fetch the files and print where they are."""
        from cs336.experiments.download import CORPORA, as_json, download

        files = [file for file in CORPORA[self.corpus] if self.only is None or self.only in file.name]
        with watch() as watcher:
            results = [download(file, self.folder, progress=watcher) for file in files]
        if self.json:
            print_result({"files": [as_json(result) for result in results]}, as_json=True)
            return ExitCode.OK
        for result in results:
            checked = " and ".join(result.checked) or "nothing: the server announces no checksum"
            values = {"file": result.path, "size_bytes": result.size_bytes, "sha256": result.sha256}
            print_result(values | {"checked_with": checked}, as_json=False)
        return ExitCode.OK
