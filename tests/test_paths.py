import os
import re

import pytest

from scoremix.paths import atomic_write, existing_file, writable_file


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
