"""Layouts are read by the programs that they are for where those can be installed, else as these read them."""

import itertools
import os
import struct

import numpy as np
import pytest

from cs336 import corpus as corpora
from cs336.corpus.convert import convert, detect
from cs336.corpus.layouts import stream
from cs336.corpus.layouts.datatrove import DatatroveSource
from cs336.corpus.layouts.stream import Meaning
from cs336.shards import read_manifest
from cs336.tokenizer import Tokenizer

EOS = 7
OTHERS = ["nanogpt", "llm.c", "llm.c-llama3", "megatron", "datatrove"]


def draw_documents(*, greatest=300, seed=0, num_documents=200):
    """Documents that each end with the EOS id, some with nothing else."""
    draw = np.random.default_rng(seed)
    lengths = draw.integers(0, 40, num_documents)
    documents = [draw.integers(8, greatest + 1, length) for length in lengths]
    return [np.append(document, EOS) for document in documents]


def write_datatrove(path, documents, dtype="<u2"):
    """The layout that all others are made from in these tests, written by its definition."""
    ids = np.concatenate([*documents, np.zeros(0, np.int64)]).astype(dtype)
    path.write_bytes(ids.tobytes())
    path.with_name(path.name + ".index").write_bytes(np.cumsum([*map(len, documents)], dtype="<u8").tobytes())
    return path


def name_for(layout):
    return {"megatron": "out.idx", "datatrove": "out.ds"}.get(layout, "out.bin")


def read_plain(path, layout):
    """Ids as the programs read them that cannot be installed: lines of nanoGPT's train.py, llm.c's dataloader.h."""
    if layout == "nanogpt":
        return np.memmap(path, dtype=np.uint16, mode="r")
    header = np.fromfile(path, np.int32, count=256)
    magic, version, dtype = {"llm.c": (20240520, 1, np.uint16), "llm.c-llama3": (20240801, 7, np.uint32)}[layout]
    assert (header[0], header[1]) == (magic, version)
    assert not header[3:].any()
    assert path.stat().st_size == 256 * 4 + header[2] * np.dtype(dtype).itemsize
    return np.fromfile(path, dtype, offset=256 * 4)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """So that documents and indices go over the ends of blocks."""
    for module in ("stream", "megatron", "datatrove"):
        monkeypatch.setattr(f"cs336.corpus.layouts.{module}.BLOCK_TOKENS", 50)


@pytest.mark.parametrize(("one", "other"), list(itertools.product(OTHERS, OTHERS)))
def test_documents_come_back_through_any_two_layouts(tmp_path, one, other):
    source = write_datatrove(tmp_path / "source.ds", draw_documents())
    first, second, back = (tmp_path / name for name in ("first", "second", "back.ds"))
    for folder in (first, second):
        folder.mkdir()
    given = {"eos_id": EOS, "vocab_size": 301}
    convert(source, first / name_for(one), layout=one, **given)
    convert(first / name_for(one), second / name_for(other), source_layout=one, layout=other, **given)
    done = convert(second / name_for(other), back, source_layout=other, **given)
    assert back.read_bytes() == source.read_bytes()
    assert (tmp_path / "back.ds.index").read_bytes() == (tmp_path / "source.ds.index").read_bytes()
    assert (done.num_documents, done.greatest_id, done.num_added_eos) == (200, 300, 0)
    assert not [path for path in tmp_path.rglob("*") if ".tmp." in path.name or path.suffix == ".lengths"]


@pytest.mark.parametrize("layout", ["nanogpt", "llm.c", "llm.c-llama3"])
def test_plain_layouts_are_as_published(tmp_path, layout):
    documents = draw_documents()
    done = convert(write_datatrove(tmp_path / "a.ds", documents), tmp_path / "b.bin", layout=layout, eos_id=EOS)
    if layout != "nanogpt":  # which begin each document with the id that ends ours
        documents = [np.roll(document, 1) for document in documents]
    assert np.array_equal(read_plain(tmp_path / "b.bin", layout), np.concatenate(documents))
    assert done.paths == (tmp_path / "b.bin",)
    assert detect(tmp_path / "b.bin") == ("nanogpt" if layout == "nanogpt" else "llm.c")


def test_datatrove_reads_ours(tmp_path):
    dataset = pytest.importorskip("datatrove.utils.dataset")
    documents = [document for document in draw_documents(greatest=70_000) if len(document) > 1]
    source = write_datatrove(tmp_path / "a.ds", documents, "<u4")
    convert(source, tmp_path / "m.idx", vocab_size=70_001)
    convert(tmp_path / "m.idx", tmp_path / "b.ds", vocab_size=70_001)
    ids = np.concatenate(documents)
    read = dataset.DatatroveFileDataset(
        str(tmp_path / "b.ds"), seq_len=len(ids) - 1, token_size=4, return_positions=True
    )
    assert len(read) == 1
    assert np.array_equal(read[0]["input_ids"].numpy(), ids)
    positions = np.concatenate([np.arange(len(document)) for document in documents])
    assert np.array_equal(read[0]["positions"].numpy(), positions)


def test_datatrove_writes_what_we_read(tmp_path):
    tokens = pytest.importorskip("datatrove.pipeline.tokens.tokenizer")
    documents = draw_documents()
    file = tokens.TokenizedFile(str(tmp_path), "a.ds", tokenizer_name_or_path="t", save_final_metadata=True)
    for document in documents:
        file.write(document.tolist(), None)
    file.close()
    theirs = (tmp_path / "a.ds.metadata").read_text()
    convert(tmp_path / "a.ds", tmp_path / "b.bin", layout="nanogpt", eos_id=EOS)
    convert(tmp_path / "b.bin", tmp_path / "c.ds", eos_id=EOS)
    for suffix in ("", ".index"):
        assert (tmp_path / f"c.ds{suffix}").read_bytes() == (tmp_path / f"a.ds{suffix}").read_bytes()
    ours = (tmp_path / "c.ds.metadata").read_text()
    assert ours.splitlines()[1] == theirs.splitlines()[1]
    assert ours.split("|")[1] == theirs.split("|")[1], "the size of an id, the number of ids, and that for people"


def test_megatron_reads_ours_and_we_what_it_writes(tmp_path):
    indexed = pytest.importorskip("megatron.core.datasets.indexed_dataset")
    documents = draw_documents(greatest=70_000)
    convert(write_datatrove(tmp_path / "a.ds", documents, "<u4"), tmp_path / "b.idx", vocab_size=70_001)
    dataset = indexed.IndexedDataset(str(tmp_path / "b"))
    assert len(dataset) == len(documents)
    assert all(np.array_equal(read, document) for read, document in zip(dataset, documents, strict=True))
    assert np.array_equal(dataset.document_indices, np.arange(len(documents) + 1))

    builder = indexed.IndexedDatasetBuilder(str(tmp_path / "c.bin"), dtype=np.int32)
    for document in documents:
        builder.add_document(document, [len(document)])
    builder.finalize(str(tmp_path / "c.idx"))
    for suffix in (".bin", ".idx"):
        assert (tmp_path / f"b{suffix}").read_bytes() == (tmp_path / f"c{suffix}").read_bytes()


def test_documents_of_several_sequences_are_whole(tmp_path):
    """An index by its definition: three sequences, the first two of them one document."""
    ids = np.arange(10, dtype="<u2")
    (tmp_path / "a.bin").write_bytes(ids.tobytes())
    head = b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, 8, 3, 3)
    lengths, pointers, boundaries = np.array([3, 2, 5], "<i4"), np.array([0, 6, 10], "<i8"), np.array([0, 2, 3], "<i8")
    (tmp_path / "a.idx").write_bytes(head + lengths.tobytes() + pointers.tobytes() + boundaries.tobytes())
    convert(tmp_path / "a", tmp_path / "b.ds")
    assert np.fromfile(tmp_path / "b.ds.index", "<u8").tolist() == [5, 10]
    pointers[2] = 12
    (tmp_path / "a.idx").write_bytes(head + lengths.tobytes() + pointers.tobytes() + boundaries.tobytes())
    with pytest.raises(ValueError, match="do not follow one another"):
        convert(tmp_path / "a", tmp_path / "c.ds")


def test_a_stream_of_llmc_goes_on_from_file_to_file(tmp_path):
    documents = draw_documents()
    source = write_datatrove(tmp_path / "a.ds", documents)
    done = convert(source, tmp_path / "b.bin", layout="llm.c", eos_id=EOS, shard_tokens=777)
    num_tokens = sum(map(len, documents))
    assert [path.name for path in done.paths] == [f"b_{index:06d}.bin" for index in range(-(-num_tokens // 777))]
    sizes = [len(read_plain(path, "llm.c")) for path in done.paths]
    assert set(sizes[:-1]) == {777}
    convert(done.paths, tmp_path / "c.ds", eos_id=EOS)
    assert (tmp_path / "c.ds").read_bytes() == source.read_bytes()
    # What begins within a document is a document, too.
    done = convert(done.paths[1], tmp_path / "d.ds", eos_id=EOS)
    assert done.num_tokens in {777, 778}


def test_eos_is_added_where_it_lacks(tmp_path):
    documents = draw_documents()
    bare = [document[:-1] for document in documents[:100]] + documents[100:]
    source = write_datatrove(tmp_path / "a.ds", bare)
    with pytest.raises(ValueError, match="document 0 does not end with the EOS id 7"):
        convert(source, tmp_path / "b.bin", layout="nanogpt", eos_id=EOS)
    done = convert(source, tmp_path / "b.bin", layout="nanogpt", eos_id=EOS, add_eos=True)
    assert (done.num_added_eos, done.num_documents) == (100, 200)
    assert np.array_equal(read_plain(tmp_path / "b.bin", "nanogpt"), np.concatenate(documents))


def test_ids_that_do_not_fit_are_refused(tmp_path):
    documents = [np.arange(60), np.array([65_536, EOS])]
    documents[0][-1] = EOS
    source = write_datatrove(tmp_path / "a.ds", documents, "<u4")
    with pytest.raises(ValueError, match=r"id 65536 at position 60 does not fit into uint16 \(0 to 65,535\)"):
        convert(source, tmp_path / "b.bin", layout="llm.c", eos_id=59)
    with pytest.raises(ValueError, match="id 65536 at position 60 is not one of the vocabulary of 65,536"):
        convert(source, tmp_path / "b.idx", vocab_size=65_536)
    with pytest.raises(ValueError, match="the EOS id must be from 0 to 65,535, got 65536"):
        convert(source, tmp_path / "b.bin", layout="nanogpt", eos_id=65_536)
    assert {path.name for path in tmp_path.iterdir()} == {"a.ds", "a.ds.index"}, "something is left"


def test_an_eos_within_a_document_is_refused_where_it_would_end_it(tmp_path):
    documents = draw_documents()
    documents[150] = np.array([9, EOS, 9, EOS])
    source = write_datatrove(tmp_path / "a.ds", documents)
    at = sum(map(len, documents[:150])) + 1
    with pytest.raises(ValueError, match=f"EOS id 7 stands within a document, at position {at:,}"):
        convert(source, tmp_path / "b.bin", layout="nanogpt", eos_id=EOS)
    assert convert(source, tmp_path / "b.idx", eos_id=EOS).num_documents == 200


@pytest.mark.parametrize("layout", OTHERS)
def test_no_documents_are_no_error(tmp_path, layout):
    source = write_datatrove(tmp_path / "a.ds", [])
    done = convert(source, tmp_path / name_for(layout), layout=layout, eos_id=EOS)
    assert (done.num_tokens, done.num_documents, done.greatest_id) == (0, 0, None)
    back = convert(tmp_path / name_for(layout), tmp_path / "b.ds", source_layout=layout, eos_id=EOS)
    assert back.num_documents == 0


@pytest.mark.parametrize("layout", OTHERS)
def test_a_file_that_is_cut_off_is_refused(tmp_path, layout):
    source = write_datatrove(tmp_path / "a.ds", draw_documents())
    done = convert(source, tmp_path / name_for(layout), layout=layout, eos_id=EOS)
    for path in done.paths:
        if path.suffix == ".metadata":
            continue
        whole = path.read_bytes()
        for length in (0, 1, 20, len(whole) - 1):
            path.write_bytes(whole[:length])
            if layout == "nanogpt" and length % 2 == 0:
                continue  # it has no length of its own
            with pytest.raises(ValueError, match=str(tmp_path)):
                convert(done.paths[0], tmp_path / "b.ds", source_layout=layout, eos_id=EOS)
        path.write_bytes(whole)
    assert not (tmp_path / "b.ds").exists()


def test_the_source_is_not_replaced(tmp_path):
    source = write_datatrove(tmp_path / "a.ds", draw_documents())
    convert(source, tmp_path / "a.bin", layout="nanogpt", eos_id=EOS)
    for out, layout in [("a.bin", "llm.c"), ("a.idx", "megatron")]:
        with pytest.raises(ValueError, match=r"a.bin would be replaced"):
            convert(tmp_path / "a.bin", tmp_path / out, layout=layout, eos_id=EOS)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes that have a name")
def test_devices_and_links_stay_what_they_are(tmp_path):
    source = write_datatrove(tmp_path / "a.ds", draw_documents())
    os.mkfifo(tmp_path / "pipe.bin")
    with pytest.raises(ValueError, match=r"pipe.bin is a device or a pipe, expected the name of a file"):
        convert(source, tmp_path / "pipe.bin", layout="nanogpt", eos_id=EOS)
    assert (tmp_path / "pipe.bin").is_fifo()
    with pytest.raises(ValueError, match=r"is a directory, expected the name of a file"):
        convert(source, tmp_path, layout="nanogpt", eos_id=EOS)
    (tmp_path / "disk").mkdir()
    for name in ("out.bin", "out.idx"):
        (tmp_path / name).symlink_to(tmp_path / "disk" / name)
        (tmp_path / "disk" / name).write_bytes(b"old")
    convert(source, tmp_path / "out.idx", eos_id=EOS)
    assert {path.name: path.is_symlink() for path in tmp_path.glob("out.*")} == {"out.bin": True, "out.idx": True}
    assert {path.name for path in (tmp_path / "disk").iterdir()} == {"out.bin", "out.idx"}
    assert convert(tmp_path / "out.idx", tmp_path / "b.ds").num_documents == 200


def test_what_is_not_told_is_asked_for(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"\x01\x00")
    with pytest.raises(ValueError, match="does not tell where documents end; give the EOS id"):
        convert(tmp_path / "a.bin", tmp_path / "b.ds")
    with pytest.raises(ValueError, match=r"b.bin does not tell the layout to write; give one of shards, nanogpt"):
        convert(tmp_path / "a.bin", tmp_path / "b.bin", eos_id=1)
    with pytest.raises(FileNotFoundError):
        convert(tmp_path / "none.bin", tmp_path / "b.ds", eos_id=1)
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(ValueError, match="does not tell its layout"):
        convert(tmp_path / "a.txt", tmp_path / "b.ds")


def test_an_index_out_of_order_is_refused(tmp_path):
    source = write_datatrove(tmp_path / "a.ds", draw_documents())
    index = tmp_path / "a.ds.index"
    ends = np.fromfile(index, "<u8")
    ends[[10, 11]] = ends[[11, 10]]
    index.write_bytes(ends.tobytes())
    with pytest.raises(ValueError, match="not in order"):
        convert(source, tmp_path / "b.idx")


def test_blocks_are_bounded(tmp_path):
    source = DatatroveSource(write_datatrove(tmp_path / "a.ds", draw_documents()), Meaning())
    blocks = list(source.blocks())
    assert len(blocks) > 50
    assert max(len(block.ids) for block in blocks) <= stream.BLOCK_TOKENS


def test_progress_ends_with_all(tmp_path):
    seen = []
    source = write_datatrove(tmp_path / "a.ds", draw_documents())
    done = convert(source, tmp_path / "b.idx", progress=lambda *report: seen.append(report))
    assert seen[-1] == ("convert", done.num_tokens, done.num_tokens)


@pytest.fixture
def tokenizer():
    """Of 301 ids, of which the last ends documents."""
    vocab = {number: bytes([number]) for number in range(256)}
    merges = [(bytes([97]), bytes([97 + number])) for number in range(44)]
    vocab |= {256 + number: left + right for number, (left, right) in enumerate(merges)}
    return Tokenizer(vocab, merges, ["<|endoftext|>"])


def with_eos_of(tokenizer, documents):
    return [np.append(document[:-1] % 300, tokenizer.special_tokens["<|endoftext|>"]) for document in documents]


def test_shards_come_from_other_layouts_and_go_back(tmp_path, tokenizer):
    documents = with_eos_of(tokenizer, draw_documents())
    source = write_datatrove(tmp_path / "a.ds", documents)
    done = convert(source, tmp_path / "corpus", layout="shards", tokenizer=tokenizer, shard_tokens=777)
    assert done.paths == (tmp_path / "corpus",)
    assert not corpora.verify(tmp_path / "corpus").problems
    manifest = read_manifest(tmp_path / "corpus")
    assert [shard.tokens for shard in manifest.shards[:-1]] == [777] * (len(manifest.shards) - 1)
    texts = [tokenizer.decode_bytes(document[:-1]) for document in documents]
    assert manifest.totals["text_bytes"] == sum(map(len, texts))
    assert manifest.totals["empty_documents"] == texts.count(b"")
    back = convert(tmp_path / "corpus", tmp_path / "b.ds")
    assert (back.source_layout, back.num_documents) == ("shards", 200)
    for suffix in ("", ".index"):
        assert (tmp_path / f"b.ds{suffix}").read_bytes() == (tmp_path / f"a.ds{suffix}").read_bytes()
    assert (tmp_path / "b.ds.metadata").read_text().startswith(tokenizer.sha256 + "|2")
    again = convert(tmp_path / "corpus", tmp_path / "again", layout="shards", tokenizer=tokenizer, shard_tokens=777)
    assert again.num_tokens == done.num_tokens
    for shard in manifest.shards:
        assert (tmp_path / "again" / shard.file).read_bytes() == (tmp_path / "corpus" / shard.file).read_bytes()
    assert read_manifest(tmp_path / "again").shards == manifest.shards


def test_a_corpus_goes_to_other_layouts(tmp_path, tokenizer):
    texts = ["low low", "", "a lower one", "großes"] * 30
    (tmp_path / "a.txt").write_text("|".join(texts), encoding="utf-8")
    plan = corpora.plan(
        tmp_path / "a.txt",
        tokenizer=tokenizer,
        out=tmp_path / "c",
        separator="|",
        valid_fraction=0.3,
        tokens_per_shard=100,
    )
    corpora.run(plan)
    for split in ("train", "valid"):
        convert(tmp_path / "c", tmp_path / f"{split}.bin", layout="nanogpt", split=split)
    eos = tokenizer.special_tokens["<|endoftext|>"]
    ids = [np.fromfile(tmp_path / f"{split}.bin", np.uint16) for split in ("train", "valid")]
    found = [tokenizer.decode(part) for both in ids for part in np.split(both, np.flatnonzero(both == eos) + 1)[:-1]]
    assert sorted(found) == sorted(f"{text}<|endoftext|>" for text in texts)
    assert all(len(part) for part in ids)


def test_corpora_of_several_tokenizers_are_not_mixed(tmp_path, tokenizer):
    other = Tokenizer({number: bytes([number]) for number in range(256)}, [], ["<|endoftext|>"])
    (tmp_path / "a.txt").write_text("low|lower")
    for name, its_tokenizer in {"one": tokenizer, "same": tokenizer, "other": other}.items():
        corpora.run(corpora.plan(tmp_path / "a.txt", tokenizer=its_tokenizer, out=tmp_path / name, separator="|"))
    assert convert([tmp_path / "one", tmp_path / "same"], tmp_path / "both.ds").num_documents == 4
    with pytest.raises(ValueError, match="the ids of the sources mean different things"):
        convert([tmp_path / "one", tmp_path / "other"], tmp_path / "mixed.ds")
    assert not list(tmp_path.glob("*mixed*"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layout": "npz"}, "layout must be one of shards, nanogpt, .* got 'npz'"),
        ({"source_layout": "zip"}, "source_layout must be one of shards, .* got 'zip'"),
        ({"layout": "nanogpt", "split": "test"}, "split must be one of train, valid, got 'test'"),
        ({"layout": "shards", "shard_tokens": 0}, "tokens_per_shard must be at least 1, got 0"),
    ],
)
def test_what_there_is_not_is_refused_and_nothing_written(tmp_path, tokenizer, options, message):
    source = write_datatrove(tmp_path / "a.ds", with_eos_of(tokenizer, draw_documents()))
    before = set(tmp_path.iterdir())
    with pytest.raises(ValueError, match=message):
        convert(source, tmp_path / "out", tokenizer=tokenizer, **options)
    assert set(tmp_path.iterdir()) == before


def test_a_damaged_shard_is_named(tmp_path, tokenizer):
    source = write_datatrove(tmp_path / "a.ds", with_eos_of(tokenizer, draw_documents()))
    convert(source, tmp_path / "c", layout="shards", tokenizer=tokenizer)
    shard = tmp_path / "c" / "train-00000-00000.npy"
    content = bytearray(shard.read_bytes())
    content[10:16] = b"{((((("  # which NumPy's parser of headers has errors of its own for
    shard.write_bytes(content)
    with pytest.raises(ValueError, match=r"train-00000-00000.npy: it is not what the manifest lists"):
        convert(tmp_path / "c", tmp_path / "b.ds")


def test_shards_are_whole_or_not_there(tmp_path, tokenizer):
    documents = with_eos_of(tokenizer, draw_documents())
    documents[100] = documents[100][:-1]
    source = write_datatrove(tmp_path / "a.ds", documents)
    with pytest.raises(ValueError, match="document 100 does not end with the EOS id 300"):
        convert(source, tmp_path / "c", layout="shards", tokenizer=tokenizer, shard_tokens=50)
    with pytest.raises(ValueError, match="a corpus directory holds the tokenizer of its ids: give it"):
        convert(source, tmp_path / "c", layout="shards", eos_id=300)
    with pytest.raises(ValueError, match="the EOS id 5 is no special token"):
        convert(source, tmp_path / "c", layout="shards", tokenizer=tokenizer, eos_id=5)
    assert {path.name for path in tmp_path.iterdir()} == {"a.ds", "a.ds.index"}
    convert(source, tmp_path / "c", layout="shards", tokenizer=tokenizer, add_eos=True)
    with pytest.raises(FileExistsError, match="choose a directory that is new"):
        convert(source, tmp_path / "c", layout="shards", tokenizer=tokenizer, add_eos=True)
    other = Tokenizer({number: bytes([number]) for number in range(256)}, [], ["<|endoftext|>"])
    with pytest.raises(ValueError, match="the ids were made by a tokenizer with hash"):
        convert(tmp_path / "c", tmp_path / "d.ds", tokenizer=other)
    with pytest.raises(ValueError, match="the EOS id is 300, got 5; leave it out"):
        convert(tmp_path / "c", tmp_path / "d.ds", eos_id=5)
