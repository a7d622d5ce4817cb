from collections import Counter

import numpy as np
import pytest

from cs336.corpus.figures import Figures, Lengths, SplitFigures, read_lengths
from cs336.corpus.page import draw, readable, render, thinned


def some_figures():
    draw_ = np.random.default_rng(2)
    figures = Figures("pile <b>", num_records=10_012, num_inputs=3, input_bytes=41_234_567, empty_documents=2)
    figures.rejected = Counter({"invalid JSON": 9, "missing text": 3})
    for name, count in [("train", 9_900), ("valid", 100)]:
        split = SplitFigures(name, num_documents=count, bytes_per_token=draw_.normal(4.3, 0.05, 40).tolist())
        lengths = np.exp(draw_.normal(6, 1.2, count)).astype(np.int64) + 1
        split.lengths.add(lengths)
        split.num_tokens, split.text_bytes = int(lengths.sum()), int(4.3 * lengths.sum())
        figures.splits[name] = split
    return figures


def test_quantiles_are_exact_for_ordinary_lengths():
    lengths = Lengths()
    values = np.random.default_rng(0).integers(1, 60_000, 5_001)
    for part in np.array_split(values, 7):
        lengths.add(part)
    for share in (0.01, 0.5, 0.9, 0.99, 1.0):
        assert lengths.quantile(share) == np.quantile(values, share, method="inverted_cdf")
    assert lengths.longest == values.max()
    assert sum(count for _, count in lengths.doublings()) == 5_001


def test_long_documents_are_within_a_percent():
    lengths = Lengths()
    values = np.random.default_rng(0).integers(1 << 16, 1 << 28, 5_000)
    lengths.add(values)
    for share in (0.1, 0.5, 0.9):
        assert lengths.quantile(share) == pytest.approx(np.quantile(values, share), rel=0.012)
    assert [least for least, _ in lengths.doublings()] == [1 << power for power in range(16, 28)]


def test_no_documents_have_no_length():
    lengths = Lengths()
    lengths.add(np.zeros(0, np.int64))
    assert (lengths.quantile(0.5), lengths.longest, lengths.doublings()) == (0, 0, [])


def test_documents_are_measured_across_shards(tmp_path):
    """Documents of 3, 9, 1 and 5 tokens in shards of 4."""
    shards = [("0.ends.npy", 4), ("1.ends.npy", 4), ("2.ends.npy", 4), ("3.ends.npy", 6)]
    for (name, _), ends in zip(shards, [[3], [], [4], [1, 6]], strict=True):
        np.save(tmp_path / name, np.array(ends, np.uint64))
    assert np.concatenate(list(read_lengths(tmp_path, shards))).tolist() == [3, 9, 1, 5]


def test_the_page_tells_all_and_loads_nothing():
    page = render(some_figures())
    assert "pile &lt;b&gt;" in page
    assert "<b>" not in page
    for said in (
        "10,012",
        "41.2 MB",
        "invalid JSON",
        "12 of 10,012 (0.1199%)",
        "2 documents without text",
        "median document",
    ):
        assert said in page, said
    assert not [word for word in ("http:", "https:", "<script", "src=", "url(") if word in page]


def test_a_page_of_nothing_is_a_page():
    page = render(Figures("empty"))
    assert "None of 0." in page


def test_many_shards_are_thinned_to_means():
    values = [float(index) for index in range(1_000)]
    few = thinned(values)
    assert len(few) == 300
    assert few == sorted(few)
    assert thinned(values[:5]) == values[:5]


def test_sizes_are_readable():
    assert [readable(size) for size in (0, 999, 1_234, 825_000_000_000)] == [
        "0 bytes",
        "999 bytes",
        "1.23 kB",
        "825 GB",
    ]


def test_the_picture_is_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    draw(some_figures(), tmp_path / "corpus.png")
    assert (tmp_path / "corpus.png").read_bytes().startswith(b"\x89PNG")
    draw(Figures("empty"), tmp_path / "empty.png")
    with pytest.raises(OSError, match="No such file"):
        draw(some_figures(), tmp_path / "none" / "corpus.png")
