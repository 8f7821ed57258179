import os
import re
import signal
import stat
from contextlib import contextmanager

import numpy as np
import pytest
from matplotlib.figure import Figure

from scoremix.paths import atomic_write, existing_file, writable_file
from scoremix.plots.figure import save_figure
from scoremix.samples.formats import FORMATS
from scoremix.samples.tables import write_table
from scoremix.storage import write_model


def test_a_finished_block_leaves_exactly_the_new_file(tmp_path):
    target = tmp_path / "out.txt"
    target.write_text("old")
    with atomic_write(target) as partial:
        partial.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert os.listdir(tmp_path) == ["out.txt"]


def test_a_failed_block_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "out.txt"
    target.write_text("old")

    def fail():
        with atomic_write(target) as partial:
            partial.write_text("half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["out.txt"]


def test_a_block_that_fails_before_it_writes_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError, match="stop"), atomic_write(tmp_path / "out.txt"):
        raise RuntimeError("stop")
    assert not os.listdir(tmp_path)


def test_new_files_have_the_usual_permissions(tmp_path):
    (tmp_path / "plain").write_text("")
    with atomic_write(tmp_path / "out") as partial:
        partial.write_text("")
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_file_that_is_replaced_keeps_its_mode(tmp_path):
    (tmp_path / "out").write_text("secret")
    (tmp_path / "out").chmod(0o600)
    with atomic_write(tmp_path / "out") as partial:
        assert stat.S_IMODE(partial.stat().st_mode) == 0o600  # nobody reads it while it is written
        partial.write_text("new")
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o600
    assert (tmp_path / "out").read_text() == "new"


@pytest.mark.parametrize("name", ["n" * 255, "ö" * 127])
def test_the_longest_names(tmp_path, name):
    with atomic_write(tmp_path / name) as partial:
        partial.write_text("new")
    assert os.listdir(tmp_path) == [name]


def test_an_error_of_the_system_names_the_file(tmp_path):
    def fail():
        with atomic_write(tmp_path / "out"):
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left on device") as caught:
        fail()
    assert caught.value.filename == str(tmp_path / "out")
    assert not os.listdir(tmp_path)


@contextmanager
def small_disk():
    """No file can have more than 4,096 bytes."""
    resource = pytest.importorskip("resource")
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("ending", [*FORMATS, ".safetensors", ".png"])
def test_a_full_disk_names_the_file(tmp_path, ending):
    path, rows = tmp_path / f"out{ending}", np.random.default_rng(0).standard_normal((2000, 2))
    figure = Figure()
    figure.add_subplot().plot(*rows.T)
    path.write_bytes(b"old")
    write = {
        ".safetensors": lambda: write_model(path, "K", {}, {"rows": rows}),
        ".png": lambda: save_figure(figure, path),
    }.get(ending, lambda: write_table(path, ["a", "b"], rows))
    with small_disk(), pytest.raises(OSError, match=r"File too large|requested and \d+ written") as caught:
        write()
    assert str(path) in str(caught.value)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == [path.name]


def test_a_link_is_followed(tmp_path):
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    with atomic_write(tmp_path / "link") as partial:
        partial.write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        (".", IsADirectoryError, "is a folder"),
        ("nowhere/out", FileNotFoundError, "nowhere does not exist: create it first"),
        ("pipe", OSError, "is a device, not a file"),
    ],
)
def test_outputs_that_cannot_be_written(tmp_path, name, error, words):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(error, match=re.escape(words)):
        writable_file(tmp_path / name)
    assert os.listdir(tmp_path) == ["pipe"]


def test_a_folder_without_permission(tmp_path, monkeypatch):
    # The superuser may write everywhere, so the answer of the system is replaced.
    monkeypatch.setattr(os, "access", lambda path, mode: not (mode & os.W_OK))
    with pytest.raises(PermissionError, match="cannot be written to"):
        writable_file(tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("missing", FileNotFoundError, "missing does not exist"),
        (".", ValueError, "is a folder"),
        ("empty", ValueError, "empty is empty"),
    ],
)
def test_inputs_that_cannot_be_read(tmp_path, name, error, words):
    (tmp_path / "empty").touch()
    with pytest.raises(error, match=re.escape(words)):
        existing_file(tmp_path / name)


def test_a_good_input_is_returned(tmp_path):
    (tmp_path / "data").write_text("1")
    assert existing_file(str(tmp_path / "data")) == tmp_path / "data"
