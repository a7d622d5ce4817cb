import dataclasses
import errno
import io
import json
import os
import shutil
import struct

import pytest
import safetensors.torch
import torch

from cs336.model import ModelConfig, TransformerLM
from cs336.optim import SGD, AdamW, clip_gradients
from cs336.train import durable
from cs336.train.checkpoint import (
    latest_checkpoint,
    load_checkpoint,
    read_checkpoint,
    save_checkpoint,
    write_checkpoint,
)
from cs336.train.loss import cross_entropy

CONFIG = ModelConfig(vocab_size=30, context_length=8, d_model=8, num_layers=1, num_heads=2, d_ff=16)


def build_adamw(params):
    params = list(params)
    return AdamW([{"params": params[:2], "weight_decay": 0.0}, {"params": params[2:]}], 1e-2, betas=(0.9, 0.95))


OPTIMIZERS = {
    "adamw": build_adamw,
    "sgd": lambda params: SGD(params, 1e-2, inverse_sqrt_decay=True),
    "torch": lambda params: torch.optim.AdamW(params, 1e-2),
}


def build(optimizer="adamw", **changes):
    model = TransformerLM(dataclasses.replace(CONFIG, **changes), generator=torch.Generator().manual_seed(0))
    return model, OPTIMIZERS[optimizer](model.parameters())


def train(model, optimizer, first, last):
    for step in range(first, last):
        batch = torch.randint(30, (4, 9), generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        cross_entropy(model(batch[:, :-1]), batch[:, 1:]).backward()
        clip_gradients(model.parameters(), 1.0)
        optimizer.step()


def trained(optimizer="adamw", num_steps=3, **changes):
    model, optimizer = build(optimizer, **changes)
    train(model, optimizer, 0, num_steps)
    return model, optimizer


def write(path, model, optimizer, step=3, **more):
    options = {"config": {"seed": 1}, "state": {"best": 1.5}, "tokenizer_hash": "abc", "eos_id": 7} | more
    write_checkpoint(path, model=model, optimizer=optimizer, step=step, **options)


def assert_same_state(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert one[name].dtype == other[name].dtype
        assert torch.equal(one[name], other[name]), name


def flip_byte(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("form", ["file", "object", "directory"])
def test_resumed_training_is_bit_identical_to_uninterrupted(tmp_path, optimizer, form):
    expected, expected_optimizer = trained(optimizer, 6)
    model, first_optimizer = trained(optimizer, 3)
    resumed, second_optimizer = build(optimizer)
    with torch.no_grad():
        for parameter in resumed.parameters():
            parameter.fill_(torch.nan)  # whatever was there must not matter
    if form == "directory":
        write(tmp_path / "c", model, first_optimizer)
        read_checkpoint(tmp_path / "c").restore(resumed, second_optimizer)
    else:
        place = tmp_path / "c" if form == "file" else io.BytesIO()
        save_checkpoint(model, first_optimizer, 3, place)
        if form == "object":
            place.seek(0)
        assert load_checkpoint(place, resumed, second_optimizer) == 3
    train(resumed, second_optimizer, 3, 6)
    assert_same_state(resumed.state_dict(), expected.state_dict())
    ours, theirs = second_optimizer.state_dict(), expected_optimizer.state_dict()
    assert ours["param_groups"] == theirs["param_groups"]
    for index, state in theirs["state"].items():
        for name, value in state.items():
            found = ours["state"][index][name]
            assert torch.equal(found, value) if isinstance(value, torch.Tensor) else found == value


def test_restoring_does_not_tie_two_runs_together():
    model, optimizer = trained()
    place = io.BytesIO()
    save_checkpoint(model, optimizer, 3, place)
    place.seek(0)
    other, other_optimizer = build()
    load_checkpoint(place, other, other_optimizer)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    train(other, other_optimizer, 3, 5)
    assert_same_state(model.state_dict(), before)


def test_moments_keep_a_type_wider_than_their_parameter(tmp_path):
    parameter = torch.nn.Parameter(torch.ones(3, dtype=torch.bfloat16))
    holder = torch.nn.ParameterList([parameter])
    optimizer = SGD([parameter])
    optimizer.state[parameter]["m"] = torch.full((3,), 1.00001)
    save_checkpoint(holder, optimizer, 0, tmp_path / "c")
    restored = SGD([parameter])
    load_checkpoint(tmp_path / "c", holder, restored)
    assert torch.equal(restored.state[parameter]["m"], torch.full((3,), 1.00001))


def test_tied_weights_are_saved_and_restored(tmp_path):
    model, optimizer = build()
    model.lm_head.weight = model.token_embeddings.weight
    save_checkpoint(model, optimizer, 0, tmp_path / "c")
    other, other_optimizer = build()
    other.lm_head.weight = other.token_embeddings.weight
    load_checkpoint(tmp_path / "c", other, other_optimizer)
    assert_same_state(other.state_dict(), model.state_dict())


def test_directory_gives_back_what_it_was_given(tmp_path):
    model, optimizer = trained()
    write(tmp_path / "runs" / "c", model, optimizer, step=42, state={"best": 1.5, "history": [1, 2]})
    checkpoint = read_checkpoint(tmp_path / "runs" / "c")
    assert (checkpoint.step, checkpoint.config, checkpoint.state) == (42, {"seed": 1}, {"best": 1.5, "history": [1, 2]})
    assert (checkpoint.tokenizer_hash, checkpoint.eos_id) == ("abc", 7)
    assert_same_state(checkpoint.model_state, model.state_dict())


def test_weights_are_plain_safetensors(tmp_path):
    model, optimizer = trained()
    write(tmp_path / "c", model, optimizer)
    assert_same_state(safetensors.torch.load_file(tmp_path / "c" / "model.safetensors"), model.state_dict())


def test_equal_states_give_equal_bytes(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / name, *trained())
    for file in ("model.safetensors", "optimizer.safetensors", "state.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_weights_can_be_read_alone(tmp_path):
    model, optimizer = trained()
    write(tmp_path / "c", model, optimizer)
    (tmp_path / "c" / "optimizer.safetensors").unlink()
    checkpoint = read_checkpoint(tmp_path / "c", with_optimizer=False)
    other, other_optimizer = build()
    checkpoint.restore(other)
    assert_same_state(other.state_dict(), model.state_dict())
    with pytest.raises(ValueError, match="with_optimizer=True"):
        checkpoint.restore(other, other_optimizer)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"d_ff": 24}, r"ffn\.w1\.weight has shape \(16, 8\) in the checkpoint and \(24, 8\) in the model"),
        ({"vocab_size": 31}, r"token_embeddings\.weight has shape \(30, 8\) in the checkpoint and \(31, 8\) in the"),
        ({"num_layers": 2}, r"lacks layers\.1\.attn.*\(9 of 21 tensors of the model\); build the model with"),
        ({"norm": "none"}, r"also holds layers\.0\.ln1\.weight, layers\.0\.ln2\.weight, ln_final\.weight"),
    ],
)
def test_another_shape_is_refused_and_changes_nothing(tmp_path, changes, message):
    saved = trained()
    save_checkpoint(*saved, 3, tmp_path / "file")
    write(tmp_path / "directory", *saved)
    model, optimizer = trained(num_steps=1, **changes)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        load_checkpoint(tmp_path / "file", model, optimizer)
    with pytest.raises(ValueError, match=message):
        read_checkpoint(tmp_path / "directory").restore(model, optimizer)
    assert_same_state(model.state_dict(), before)
    assert next(iter(optimizer.state.values()))["t"] == 1


def test_other_groups_are_refused_and_change_nothing(tmp_path):
    save_checkpoint(*trained(), 3, tmp_path / "c")
    model, _ = trained(num_steps=1)
    optimizer = AdamW(model.parameters())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"groups have \[2, 10\] parameters in the checkpoint and \[12\] here"):
        load_checkpoint(tmp_path / "c", model, optimizer)
    assert_same_state(model.state_dict(), before)


def test_optimizer_of_another_class_is_refused(tmp_path):
    save_checkpoint(*trained("sgd"), 3, tmp_path / "c")
    model, optimizer = build("torch")  # as many groups and parameters, of the same shapes
    with pytest.raises(ValueError, match=r"the state of cs336\.optim\.sgd\.SGD, not of torch\.optim\.adamw\.AdamW"):
        load_checkpoint(tmp_path / "c", model, optimizer)


def test_optimizer_with_parameters_in_another_order_is_refused(tmp_path):
    model, optimizer = trained("sgd")
    save_checkpoint(model, optimizer, 3, tmp_path / "c")
    with pytest.raises(
        ValueError, match=r"optimizer's parameter 0 has shape \(30, 8\) in the checkpoint and \(8,\) here"
    ):
        load_checkpoint(tmp_path / "c", model, SGD(sorted(model.parameters(), key=torch.numel)))


@pytest.mark.parametrize("keep", [0, 4, 100, 2000, -1])
def test_truncated_file_is_refused(tmp_path, keep):
    model, optimizer = trained()
    save_checkpoint(model, optimizer, 3, tmp_path / "c")
    (tmp_path / "c").write_bytes((tmp_path / "c").read_bytes()[:keep])
    with pytest.raises(ValueError, match="is damaged or no checkpoint"):
        load_checkpoint(tmp_path / "c", model, optimizer)


@pytest.mark.parametrize("what", ["weights", "metadata"])
def test_tampered_file_is_refused(tmp_path, what):
    model, optimizer = trained()
    save_checkpoint(model, optimizer, 3, tmp_path / "c")
    content = (tmp_path / "c").read_bytes()
    at = -5 if what == "weights" else content.index(rb"\"iteration\": 3") + len(rb"\"iteration\": ")
    flip_byte(tmp_path / "c", at)
    with pytest.raises(ValueError, match="checksum does not match"):
        load_checkpoint(tmp_path / "c", model, optimizer)


def test_pickles_are_never_loaded(tmp_path):
    model, optimizer = build()
    torch.save({"model": model.state_dict()}, tmp_path / "c.pt")
    with pytest.raises(ValueError, match="is damaged or no checkpoint of cs336"):
        load_checkpoint(tmp_path / "c.pt", model, optimizer)


@pytest.mark.parametrize("facts", ["{", "[]", "5"])
def test_metadata_that_is_no_object_is_refused(tmp_path, facts):
    safetensors.torch.save_file({}, tmp_path / "c", metadata={"cs336": facts})
    with pytest.raises(ValueError, match="is damaged or no checkpoint of cs336"):
        load_checkpoint(tmp_path / "c", *build())


def test_absurd_header_size_is_refused(tmp_path):
    (tmp_path / "c").write_bytes(struct.pack("<Q", 2**63) + b"{}")
    with pytest.raises(ValueError, match="is damaged"):
        load_checkpoint(tmp_path / "c", *build())


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors", "state.json"])
@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing"])
def test_damaged_directory_is_refused_and_passed_over(tmp_path, file, damage):
    write(tmp_path / "checkpoints" / "step_1", *trained(num_steps=1), step=1)
    write(tmp_path / "checkpoints" / "step_2", *trained(num_steps=2), step=2)
    victim = tmp_path / "checkpoints" / "step_2" / file
    if damage == "truncated":
        victim.write_bytes(victim.read_bytes()[:-20])
    elif damage == "flipped":
        flip_byte(victim, -40)
    else:
        victim.unlink()
    with pytest.raises(FileNotFoundError if damage == "missing" else ValueError, match=file):
        read_checkpoint(victim.parent)
    assert latest_checkpoint(tmp_path) == tmp_path / "checkpoints" / "step_1"


def test_changed_step_in_the_state_file_is_noticed(tmp_path):
    write(tmp_path / "c", *trained())
    state_file = tmp_path / "c" / "state.json"
    state_file.write_text(json.dumps(json.loads(state_file.read_text()) | {"step": 4}))
    with pytest.raises(ValueError, match="checksum does not match"):
        read_checkpoint(tmp_path / "c")


def test_latest_goes_by_the_step_not_by_the_name(tmp_path):
    state = trained(num_steps=1)
    for name, step in (("a", 5), ("b", 100), ("c", 20)):
        write(tmp_path / name, *state, step=step)
    assert latest_checkpoint(tmp_path) == tmp_path / "b"


def test_latest_ignores_what_is_written_aside_and_falls_back_to_what_is_being_replaced(tmp_path):
    write(tmp_path / "best", *trained())
    shutil.copytree(tmp_path / "best", tmp_path / "best.tmp")
    (tmp_path / "best").rename(tmp_path / "best.replaced")  # as a crash between two renames leaves it
    assert latest_checkpoint(tmp_path) == tmp_path / "best.replaced"


def test_latest_passes_over_state_files_of_others(tmp_path):
    write(tmp_path / "c", *trained())
    for name, content in (("list", "[]"), ("number", "5"), ("object", "{}"), ("text", "no JSON")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "state.json").write_text(content)
    assert latest_checkpoint(tmp_path) == tmp_path / "c"


def test_latest_of_nothing_is_none(tmp_path):
    assert latest_checkpoint(tmp_path) is None
    assert latest_checkpoint(tmp_path / "none") is None


@pytest.mark.parametrize("form", ["file", "directory"])
def test_full_disk_leaves_the_earlier_checkpoint(tmp_path, monkeypatch, form):
    model, optimizer = trained()
    save = {
        "file": lambda: save_checkpoint(model, optimizer, 3, tmp_path / "c"),
        "directory": lambda: write(tmp_path / "c", model, optimizer),
    }[form]
    save()

    def fsync(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(durable.os, "fsync", fsync)
    train(model, optimizer, 3, 4)
    with pytest.raises(OSError, match=r"cannot write [\d,]+ bytes \(No space left on device\)"):
        save()
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["c"]
    other, other_optimizer = build()
    if form == "file":
        load_checkpoint(tmp_path / "c", other, other_optimizer)
    else:
        read_checkpoint(tmp_path / "c").restore(other, other_optimizer)
    assert_same_state(other.state_dict(), trained()[0].state_dict())


def test_state_that_is_not_json_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(TypeError, match="not JSON serializable"):
        write(tmp_path / "c", *build(), state={"generator": torch.Generator()})
    assert list(tmp_path.iterdir()) == []
