"""Files written whole or not at all; what the npz adds to it is tested with the trajectory's file."""

import errno
from pathlib import Path

import pytest

from ibjax._files import atomic_write, size


def test_any_writer_may_write(tmp_path: Path) -> None:
    path = tmp_path / "figure.png"
    for text in ("first", "second"):
        with atomic_write(path, suffix=".png") as temporary:
            assert temporary.parent == tmp_path
            assert temporary.suffix == ".png"
            temporary.write_text(text)
        assert path.read_text() == text
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_exception_leaves_what_was_there(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.txt"
    path.write_text("before")
    with pytest.raises(error), atomic_write(path) as temporary:  # noqa: PT012  (both are the point)
        temporary.write_text("half")
        raise error
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    """Not the temporary one, which nobody knows and which is gone."""
    path = tmp_path / "a.png"
    for nameless in (OSError(errno.ENOSPC, "No space left on device"), OSError("encoder error -2")):
        with pytest.raises(OSError, match=r"No space|encoder") as caught, atomic_write(path):
            raise nameless
        assert caught.value.filename == str(path)
        assert caught.value.errno == nameless.errno
    with pytest.raises(OSError, match="too large") as caught, atomic_write(path) as temporary:
        raise OSError(errno.EFBIG, "File too large", str(temporary))
    assert caught.value.filename == str(path)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_stays_where_none_may_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("before")
    with pytest.raises(FileExistsError), atomic_write(path, overwrite=False):
        pytest.fail("nothing may be written")
    assert path.read_text() == "before"


@pytest.mark.parametrize(
    ("nbytes", "words"), [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (2.5e9, "2.5 GB"), (7e12, "7 TB")]
)
def test_bytes_in_words(nbytes: float, words: str) -> None:
    assert size(nbytes) == words
