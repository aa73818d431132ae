"""Files written whole or not at all."""

import os
import stat

import pytest

from nce_bias._files import filling, replacing


def test_a_file_takes_the_place_of_the_old_one_when_it_is_whole(tmp_path):
    path = tmp_path / "new folder" / "a.txt"
    for content in (b"first", b"second"):
        with replacing(path) as file:
            file.write(content)
            assert not path.exists() or path.read_bytes() == b"first"
        assert path.read_bytes() == content
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_unfinished_file_leaves_no_trace(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_bytes(b"kept")
    with pytest.raises(error), replacing(path) as file:
        file.write(b"half")
        raise error
    assert path.read_bytes() == b"kept"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_file_can_be_read_back_while_it_is_written(tmp_path):
    with replacing(tmp_path / "a") as file:
        file.write(b"abc")
        file.seek(1)
        assert file.read() == b"bc"


def test_a_file_may_be_read_by_whoever_may_read_others(tmp_path):
    with replacing(tmp_path / "ours"):
        pass
    (tmp_path / "plain").touch()
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("ours", "plain")}
    assert len(modes) == 1


def test_a_folder_is_filled_when_all_of_it_is_there(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "a.csv").write_text("old")
    (folder / "other.csv").write_text("stays")
    with filling(folder) as staged:
        (staged / "a.csv").write_text("new")
        (staged / "sub").mkdir()
        (staged / "sub" / "b.csv").write_text("b")
        assert (folder / "a.csv").read_text() == "old"
    found = {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*.csv")}
    assert found == {"a.csv": "new", "other.csv": "stays", os.path.join("sub", "b.csv"): "b"}
    with pytest.raises(KeyboardInterrupt), filling(folder) as staged:
        (staged / "a.csv").write_text("half")
        raise KeyboardInterrupt
    assert (folder / "a.csv").read_text() == "new"
    assert sorted(p.name for p in folder.iterdir()) == ["a.csv", "other.csv", "sub"]
