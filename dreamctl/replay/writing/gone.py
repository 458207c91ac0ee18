"""What has left a replay: nobody could tell from the shards that are there."""

import json
from dataclasses import dataclass
from pathlib import Path

from dreamctl.core.errors import InputError
from dreamctl.core.files import unwritable, write_json


@dataclass
class Gone:
    """What has left a replay, as its folder tells: without it nobody could count what was ever done.

    Attributes:
        path: where that is written; hidden, so that no command takes it for a shard.
        rows, env_steps: in all.
        last: name of the file that went last; where a crash left it, it still has to go.
        collectors: names of writers, oldest first, no other one of which may have rows here: whoever knew the old rows would take the
            new ones for them.
    """

    path: Path
    rows: int = 0
    env_steps: int = 0
    last: str = ""
    collectors: tuple[str, ...] = ()

    @classmethod
    def of(cls, folder: Path) -> "Gone":
        """What has left the replay in a folder, none of it there any more.

        Raises:
            InputError: what is written about it is damaged.
            OutputError: a file cannot be removed.
        """
        path = folder / ".gone.json"
        try:
            found = json.loads(path.read_text())
            gone = cls(path, int(found["rows"]), int(found["env_steps"]), str(found["last"]), tuple(map(str, found["collectors"])))
        except FileNotFoundError:
            return cls(path)
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}); ask its owner, or start anew with another --out") from error
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: is damaged ({error}); bring it back, or start anew with another --out") from error
        last = Path(gone.last).name
        if last.endswith(".h5"):
            _remove(folder / last)
        return gone

    def more(self, path: Path, rows: int, env_steps: int) -> None:
        """A shard goes: first it is counted, then it is removed, so that a crash in between is seen.

        Raises:
            OutputError: it cannot be counted or removed.
        """
        self.rows, self.env_steps, self.last = self.rows + rows, self.env_steps + env_steps, path.name
        self._know(path.stem.rpartition("-e")[0])
        self._write()
        _remove(path)

    def settle(self) -> None:
        """The file that went last is gone: one of its name that comes later is another one, and stays.

        Raises:
            OutputError: that cannot be written.
        """
        self.last = ""
        self._write()

    def begun(self, collector: str) -> None:
        """Another writer begins.

        Raises:
            OutputError: that cannot be written.
        """
        self._know(collector)
        self._write()

    def _know(self, collector: str) -> None:
        if collector and collector not in self.collectors:
            self.collectors += (collector,)

    def _write(self) -> None:
        write_json(self.path, {name: value for name, value in vars(self).items() if name != "path"})


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error
