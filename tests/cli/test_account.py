from pathlib import Path


def test_the_handouts_tables(cs336):
    table = cs336("account", "--handout").out
    for golden in ("2,127,057,600", "4.513", "149.5", "1,640,452,800", "3.517", "133.6", "6,584", "202"):
        assert golden in table
    answers = cs336("account", "--handout", "--json").json["handout"]
    assert [(answer["model"], answer["year"]) for answer in answers][-1] == ("gpt2-xl", 2026)
    assert [answer["largest_batch"] for answer in answers if answer["model"] == "gpt2-xl"] == [2, 3]


def test_time_and_batch_on_a_named_device(cs336):
    result = cs336("account", "--device", "h100", "--mfu", 0.4, "--tokens", 327_680_000, "--json").json
    device = result["on_device"]
    flops = result["training_flops_per_token"] * 327_680_000
    adamw = 14 * result["parameters"]["total"] * 10_000
    assert abs(device["training_s"] - (flops + adamw) / (0.4 * 989.4e12)) < 1e-6 * device["training_s"]
    state, sequence = result["fp32_training_state_bytes"], result["fp32_activation_bytes_per_sequence"]["total"] / 2
    assert device["largest_batch"] == (80e9 - state) // sequence
    text = cs336("account", "--device", "h100", "--tokens", 1000).out
    assert "training s" in text
    assert "Hopper" in text


def test_devices_are_listed_with_their_sources(cs336):
    text = cs336("account", "--device", "help").out
    assert "h100-pcie" in text
    assert "data sheet" in text
    rows = cs336("account", "--device", "help", "--json").json["devices"]
    assert {row["name"]: row["flops_per_s"]["fp32"] for row in rows}["a100"] == 19.5e12


def test_any_config_is_counted(cs336, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("run.toml").write_text("[model]\nnum_layers = 2\nqk_norm = true\ntie_embeddings = true\n")
    result = cs336("account", "--config", "run.toml", "--json").json
    assert result["model"]["qk_norm"] is True
    assert result["parameters"]["total"] == 10_000 * 512 + 2 * (4 * 512**2 + 3 * 512 * 1344 + 2 * 512 + 64) + 512


def test_what_cannot_be_is_one_line(cs336):
    for arguments, words in (
        (["--device", "h1000"], "device must be one of b200, h200, h100"),
        (["--device", "t4"], "t4 has no bf16 rate"),
        (["--device", "h100", "--mfu", 2], "mfu must be in (0, 1], got 2.0"),
        (["--device", "h100", "--tokens", 0], "tokens must be at least 1, got 0"),
    ):
        outcome = cs336("account", *arguments)
        assert outcome.code == 1
        assert words in outcome.err
