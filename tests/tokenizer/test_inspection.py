import doctest

import pytest

from cs336.tokenizer import Tokenizer, inspection
from cs336.tokenizer.inspection import (
    Token,
    compare,
    inspect,
    script_of,
    spell,
    spell_listed,
    text_facts,
    vocabulary_facts,
)

EOT = "<|endoftext|>"
BYTES = {i: bytes([i]) for i in range(256)}


def tokenizer(*tokens: bytes, specials=(EOT,)) -> Tokenizer:
    """Takes whole pretokens, so that any tokens will do."""
    return Tokenizer({**BYTES, **dict(enumerate(tokens, 256))}, [], list(specials), ignore_merges=True)


class TestText:
    def test_bytes_and_tokens_of_scripts_add_up_to_the_text(self, small, corpus):
        facts = text_facts(small, corpus)
        assert facts.num_bytes == len(corpus.encode()) == sum(script.num_bytes for script in facts.scripts)
        assert facts.num_tokens == len(small.encode(corpus))
        assert facts.num_tokens == pytest.approx(sum(script.num_tokens for script in facts.scripts))
        assert facts.num_characters == len(corpus)
        assert facts.num_distinct == len(set(small.encode(corpus)))
        assert facts.bytes_per_token == facts.num_bytes / facts.num_tokens
        assert b"".join(token.content for token in facts.tokens) == corpus.encode()
        assert {token.id for token in facts.tokens if token.is_special} == {small.eos_id}

    def test_a_token_counts_for_each_script_by_its_bytes(self):
        facts = text_facts(tokenizer(" да".encode(), b"word"), "word да")
        found = {script.script: (script.num_bytes, script.num_tokens) for script in facts.scripts}
        assert found == {
            "Latin": (4, pytest.approx(1)),
            "Cyrillic": (4, pytest.approx(4 / 5)),
            "white space": (1, pytest.approx(1 / 5)),
        }
        assert [script.bytes_per_token for script in facts.scripts] == pytest.approx([5, 4, 5])

    def test_an_empty_text_has_nothing(self, small):
        facts = text_facts(small, "")
        assert (facts.num_tokens, facts.scripts, facts.tokens, facts.bytes_per_token) == (0, [], [], 0.0)

    def test_a_lone_surrogate_is_what_it_is_encoded_as(self, small):
        assert text_facts(small, "a\ud83d").num_bytes == 1 + len("\ufffd".encode())

    def test_only_the_first_tokens_are_kept(self, small):
        facts = text_facts(small, "a b " * 5_000)
        assert len(facts.tokens) == inspection.NUM_SHOWN_TOKENS < facts.num_tokens


class TestVocabulary:
    def test_it_is_counted_by_length_and_script(self):
        facts = vocabulary_facts(tokenizer(b" the", " 日本".encode(), b"...", b"  \n", b"\xe6\x97"))
        assert (facts.vocab_size, facts.num_tokens, facts.num_merges) == (262, 262, 0)
        assert facts.num_of_length == [0, 256, 1, 2, 1, 0, 0, 1]
        assert [token.content for token in facts.longest[:2]] == [" 日本".encode(), b" the"]
        assert facts.num_of_script["Han"] == 1
        assert facts.num_of_script["Latin"] == 52 + 1
        assert facts.num_of_script["parts of characters"] == 128 + 1
        assert sum(facts.num_of_script.values()) == 261

    def test_special_tokens_and_gaps_are_told_apart(self):
        facts = vocabulary_facts(Tokenizer({**BYTES, 300: b"<e>"}, [], ["<e>"]))
        assert (facts.vocab_size, facts.num_tokens, facts.special_tokens) == (301, 257, {"<e>": 300})
        assert facts.longest[0] == Token(0, b"\0")


class TestComparison:
    def test_tokens_are_compared_whatever_their_ids(self):
        overlap = compare(tokenizer(b"ab", b"cd", b"ef"), tokenizer(b"cd", b"xy", specials=["<other>"]))
        assert overlap.num_shared == 256 + 1
        assert overlap.num_only == (2, 1)
        assert overlap.only == ([Token(256, b"ab"), Token(258, b"ef")], [Token(257, b"xy")])

    def test_both_are_inspected(self, small, corpus):
        found = inspect({"a": small, "b": tokenizer(b"ab")}, corpus)
        assert found.names == ["a", "b"]
        assert len(found.vocabularies) == len(found.texts) == 2
        assert found.overlap == compare(small, tokenizer(b"ab"))
        alone = inspect({"a": small})
        assert (alone.texts, alone.overlap) == ([], None)

    def test_more_than_two_are_too_many(self, small):
        with pytest.raises(ValueError, match="one tokenizer or two can be inspected, got 3"):
            inspect(dict.fromkeys("abc", small))
        with pytest.raises(ValueError, match="got 0"):
            inspect({})


@pytest.mark.parametrize(
    ("characters", "script"),
    [
        ("aÉſªＡ", "Latin"),
        ("дЇ", "Cyrillic"),
        ("日々", "Han"),
        ("あ", "Hiragana"),
        ("アｱー", "Katakana"),
        ("한", "Hangul"),
        ("ไ", "Thai"),
        ("न", "Devanagari"),
        ("ع", "Arabic"),
        ("ʼ", "other letters"),
        ("1٣½", "numbers"),
        (" \n\u3000\x1c", "white space"),
        ("!。", "punctuation"),
        ("+🙂", "symbols"),
        ("\u0301\u093e", "marks"),
        ("\0\u200d\ue000", "other characters"),
    ],
)
def test_scripts_are_told_by_names(characters, script):
    assert {script_of(character) for character in characters} == {script}


def test_control_characters_and_parts_of_characters_can_be_seen():
    assert spell(b" a\t\x7f\xff") == " a␉␡\\xFF"
    assert spell_listed(b" a  ") == "␣a␣␣"
    assert doctest.testmod(inspection).failed == 0
