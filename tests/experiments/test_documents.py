import pytest

from cs336.experiments.documents import END_OF_TEXT, documents, is_held_out


def test_documents_are_what_stands_between_special_tokens(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(f"a\n{END_OF_TEXT}\nb c\n{END_OF_TEXT}\n \n{END_OF_TEXT}d")
    assert list(documents(path)) == [b"a\n", b"\nb c\n", b"d"]
    path.write_text("")
    assert list(documents(path)) == []


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_about_the_share_is_held_out_and_a_larger_share_holds_the_smaller(share):
    texts = [f"document {number}".encode() for number in range(2000)]
    held_out = {text for text in texts if is_held_out(text, share)}
    assert len(held_out) == pytest.approx(share * len(texts), rel=0.2)
    assert held_out < {text for text in texts if is_held_out(text, share + 0.2)}
