from cs336.experiments.report.corpora import corpora_section

GRID = '[grid]\n"optim.lr" = [1e-3, 2e-3]\n'
NAMES = {"data-1": "stories", "data-2": "web"}


def section_of(study_of, *, bytes_per_token):
    stories = study_of(
        GRID, lambda name, _: {"lr=0.001": 2.0, "lr=0.002": 2.5}[name], valid="data-1/valid.npy", bytes_per_token=4.0
    )
    web = study_of(
        GRID,
        lambda name, _: {"lr=0.001": 3.5, "lr=0.002": 3.0}[name],
        valid="data-2/valid.npy",
        bytes_per_token=bytes_per_token,
    )
    return list(corpora_section([stories, web], names=NAMES))


def test_the_best_run_on_each_corpus_is_told_in_bits_a_byte(study_of):
    (section,) = section_of(study_of, bytes_per_token=4.5)
    assert section.tables[0].rows == (
        ("stories", "300", "2.0000", "4.000", "0.721", "out/lr=0.001/seed-0"),
        ("web", "300", "3.0000", "4.500", "0.962", "out/lr=0.002/seed-0"),
    )
    assert "left with 0.962 bits of doubt, of one of stories with 0.721: web is the harder text" in section.words[1]
    assert "as nats a token say, too" in section.words[1]


def test_longer_tokens_can_make_the_easier_text_cost_more_nats_a_token(study_of):
    (section,) = section_of(study_of, bytes_per_token=8.0)
    assert (
        "stories is the harder text at this budget, although its loss in nats a token is the lower" in section.words[1]
    )


def test_a_single_corpus_or_unequal_budgets_are_not_compared(study_of):
    one = study_of(GRID, lambda *_: 2.0, valid="data-1/valid.npy")
    assert list(corpora_section([one, one], names={})) == []
    longer = study_of(GRID.replace("[grid]", "[grid]\nsteps = [12]"), lambda *_: 2.0, valid="data-2/valid.npy")
    assert list(corpora_section([one, longer], names={})) == []
