from cs336.tokenizer import reference


def test_training_gives_the_merges_of_the_worked_example():
    text = "low low low low low lower lower widest widest widest newest newest newest newest newest newest"
    _, merges = reference.train_bpe([text], 256 + 6, pattern=r"\S+")
    assert [a + b for a, b in merges] == [b"st", b"est", b"ow", b"low", b"west", b"ne"]


def test_specials_are_cut_leftmost_first_and_then_longest():
    cut = reference.split_specials("xababbab", ["ab", "abab", "ba"])
    assert list(cut) == [("x", False), ("abab", True), ("ba", True), ("b", False)]


def test_what_a_pattern_leaves_out_is_kept():
    assert list(reference.pretokenize("1ab2 cd3", "[a-z]+")) == ["1", "ab", "2 ", "cd", "3"]
    assert list(reference.pretokenize("aab", "x*")) == ["aab"]


def test_the_gpt2_pattern_splits_as_published():
    pretokens = ["some", " text", " that", " i", "'ll", " pre", "-", "tokenize", " ", " 12", "!", "\n"]
    assert list(reference.pretokenize("some text that i'll pre-tokenize  12!\n")) == pretokens


def test_encoding_merges_the_lowest_rank_leftmost():
    vocab = {**{i: bytes([i]) for i in range(256)}, 256: b"aa", 257: b"ab", 258: b"<e>"}
    merges = [(b"a", b"b"), (b"a", b"a")]
    assert reference.encode("aaab<e>aaa", vocab, merges, ["<e>"]) == [256, 257, 258, 256, 97]
