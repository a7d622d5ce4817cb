import pytest

from cs336.experiments.golden import GOLDEN_FILES, TRAINED_ON, check_golden, golden_file

VALID = golden_file(22_502_601)
TRAIN_BYTES = 2_227_753_162


def check(**changes):
    right = {
        "num_bytes": VALID.num_bytes,
        "num_documents": VALID.num_documents,
        "num_tokens": 5_465_883,
        "vocab_size": 10_000,
        "trained_on_bytes": TRAIN_BYTES,
    }
    return check_golden(**right | changes)


def test_right_counts_are_confirmed():
    assert check() == "TinyStoriesV2-GPT4-valid.txt: 27,630 documents and 5,465,883 tokens, as known"


def test_a_wrong_count_is_an_error_that_knows_the_mistake():
    with pytest.raises(ValueError, match=r"encodes to 5,465,883 tokens .* got 5,461,210 \(-4,673\); .* line by line"):
        check(num_tokens=5_461_210)
    with pytest.raises(ValueError, match=r"got 5,465,884 \(\+1\)$"):
        check(num_tokens=5_465_884)


def test_lost_ends_of_text_are_an_error():
    with pytest.raises(ValueError, match=r"holds 27,630 documents, 0 ends of text came out; was .* declared"):
        check(num_documents=0)


def test_nothing_is_known_of_other_files_and_other_tokenizers():
    assert check(num_bytes=5) is None
    assert "tokens" not in check(vocab_size=9_999, num_tokens=1)
    assert "tokens" not in check(trained_on_bytes=5, num_tokens=1)


def test_the_files_crossed_with_the_other_tokenizer_are_known():
    crossed = {file.name: sorted(file.num_tokens) for file in GOLDEN_FILES if len(file.num_tokens) > 1}
    assert crossed == {"TinyStoriesV2-GPT4-valid.txt": [10_000, 32_000], "owt_valid.txt": [10_000, 32_000]}
    assert set(TRAINED_ON.values()) <= {file.name for file in GOLDEN_FILES}
