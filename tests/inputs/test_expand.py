import os

import pytest

from cs336.inputs import expand


@pytest.fixture
def tree(tmp_path, monkeypatch):
    for name in (
        "b.txt",
        "a.jsonl.zst",
        "deep/er/c.jsonl.gz",
        "deep/d.parquet",
        "deep/notes.pdf",
        ".hidden/e.txt",
        ".f.txt",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"content")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(inputs, **options):
    return [file.name for file in expand(inputs, **options)]


READABLE = ["a.jsonl.zst", "b.txt", "deep/d.parquet", "deep/er/c.jsonl.gz"]


def test_a_directory_stands_for_what_can_be_read_below_it(tree):
    found = expand(tree)
    assert [os.path.relpath(file.name, tree) for file in found] == READABLE
    assert [(file.format, file.compression) for file in found] == [
        ("jsonl", "zstd"),
        ("text", "none"),
        ("parquet", "none"),
        ("jsonl", "gzip"),
    ]
    assert {file.size_bytes for file in found} == {7}


@pytest.mark.parametrize("here", [".", "./", "deep/.."])
def test_hidden_files_stay_out_however_the_directory_is_named(tree, here):
    assert [os.path.relpath(name) for name in names(here)] == READABLE


@pytest.mark.parametrize("hidden", [".hidden", "./.hidden", ".//.hidden/"])
def test_a_hidden_directory_that_is_named_is_meant(tree, hidden):
    assert names(hidden) == [".hidden/e.txt"]


def test_patterns_and_lists_keep_their_order(tree):
    assert names(["b.txt", "deep/**/*.gz", "a*"]) == ["b.txt", "deep/er/c.jsonl.gz", "a.jsonl.zst"]
    assert names("*.*") == ["a.jsonl.zst", "b.txt"]


def test_the_stamp_changes_with_the_file(tree):
    (before,) = expand("b.txt")
    os.utime("b.txt", ns=(5, 5))
    (after,) = expand("b.txt")
    assert before.stamp != after.stamp == "5"


def test_a_format_may_be_given(tree):
    (found,) = expand("deep/notes.pdf", format="text")
    assert (found.format, found.compression) == ("text", "none")


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        ("none.txt", FileNotFoundError, "none.txt"),
        ("none*.txt", FileNotFoundError, "no file matches this pattern"),
        ("deep/notes.pdf", ValueError, r"does not tell its format: end it in .txt or .jsonl"),
        ([], ValueError, "there are no inputs"),
        (["b.txt", "./b.txt"], ValueError, r"./b.txt is given twice \(as b.txt, too\)"),
        ("empty", ValueError, "empty holds no file to read"),
        ("odd.parquet.gz", ValueError, "parquet files are compressed within"),
    ],
)
def test_what_stands_for_nothing_is_refused(tree, inputs, error, message):
    (tree / "empty").mkdir()
    (tree / "odd.parquet.gz").touch()
    with pytest.raises(error, match=message):
        expand(inputs)


def test_names_that_look_like_patterns_are_files_first(tree):
    (tree / "[x].txt").touch()
    assert names("[x].txt") == ["[x].txt"]


def test_urls_stand_for_files_directories_and_patterns(tree):
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    memory.pipe({"/corpus/a.txt": b"12", "/corpus/deep/b.jsonl.gz": b"123", "/corpus/c.pdf": b""})
    try:
        assert names("memory://corpus") == ["memory:///corpus/a.txt", "memory:///corpus/deep/b.jsonl.gz"]
        (found,) = expand("memory://corpus/*/*.gz")
        assert (found.name, found.size_bytes, found.is_remote) == ("memory:///corpus/deep/b.jsonl.gz", 3, True)
        assert found.stamp
        with pytest.raises(FileNotFoundError, match="no such file"):
            expand("memory://corpus/none.txt")
        with pytest.raises(FileNotFoundError, match="no file matches"):
            expand("memory://corpus/*.zst")
    finally:
        memory.rm("/corpus", recursive=True)
    assert [name.split("/")[-1] for name in names(f"file://{tree}")] == [
        "a.jsonl.zst",
        "b.txt",
        "d.parquet",
        "c.jsonl.gz",
    ]


def test_what_is_not_installed_is_named(tree, monkeypatch):
    monkeypatch.setattr("cs336._extras.find_spec", lambda _: None)
    with pytest.raises(
        ModuleNotFoundError, match=r"reading s3://bucket/a.txt needs fsspec: pip install 'cs336\[remote\]'"
    ):
        expand("s3://bucket/a.txt")


def test_what_fsspec_lacks_is_named(tree):
    pytest.importorskip("fsspec")
    try:
        import s3fs  # noqa: F401
    except ImportError:
        with pytest.raises(ModuleNotFoundError, match=r"reading s3:// needs one package more .*s3fs"):
            expand("s3://bucket/a.txt")
    with pytest.raises(ValueError, match="Protocol not known: nonsense"):
        expand("nonsense://bucket/a.txt")
