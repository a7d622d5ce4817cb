import dataclasses
import math
from collections import Counter

import numpy as np
import pytest
import torch

from cs336.generate import Step, generate, generate_text, stream
from cs336.model import ModelConfig, TransformerLM

CONFIG = ModelConfig(vocab_size=30, context_length=8, d_model=16, num_layers=2, num_heads=2, d_ff=24)


def build(**changes):
    return TransformerLM(dataclasses.replace(CONFIG, **changes), generator=torch.Generator().manual_seed(0))


def greedy_by_hand(model, ids, num_new):
    ids = list(ids)
    for _ in range(num_new):
        ids.append(int(model(torch.tensor([ids[-model.config.context_length :]]))[0, -1].argmax()))
    return ids[-num_new:]


@pytest.mark.parametrize("prompt", [[3], [1, 2, 3, 4, 5], list(range(8)), list(range(20))])
@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_greedy_takes_the_likeliest_id_also_past_the_context(prompt, temperature):
    model = build()
    assert generate(model, prompt, max_new_tokens=12, temperature=temperature) == greedy_by_hand(model, prompt, 12)


@pytest.mark.parametrize(
    "changes", [{}, {"norm_position": "post"}, {"position": "none"}, {"attention": "sdpa"}], ids=str
)
def test_a_batch_of_different_lengths_equals_one_after_another(changes):
    model = build(**changes)
    prompts = [[3], [1, 2, 3, 4, 5], list(range(20)), [7, 7]]
    together = generate(model, prompts, max_new_tokens=10, temperature=0)
    assert together == [generate(model, prompt, max_new_tokens=10, temperature=0) for prompt in prompts]


def test_sampled_rows_do_not_depend_on_their_neighbours():
    model = build()
    first = generate(model, [[1, 2], [3, 4, 5], [6]], max_new_tokens=10, seed=0)
    second = generate(model, [[1, 2], [9] * 12, [6], [2]], max_new_tokens=10, seed=0)
    assert [first[0], first[2]] == [second[0], second[2]]
    assert generate(model, [1, 2], max_new_tokens=10, seed=0) == first[0]


def test_rows_go_on_alone_when_another_stops():
    model = build()
    prompts = [[3], [1, 2, 3, 4, 5], [7, 7]]
    alone = [generate(model, prompt, max_new_tokens=10, temperature=0) for prompt in prompts]
    stop_id = alone[0][2]
    stopped = generate(model, prompts, max_new_tokens=10, temperature=0, stop_id=stop_id)
    assert stopped == [row[: row.index(stop_id)] if stop_id in row else row for row in alone]
    assert len({len(row) for row in stopped}) > 1


def test_equal_prompts_get_different_continuations_and_the_seed_repeats_them():
    model = build()
    rows = generate(model, [[1]] * 3, max_new_tokens=10, seed=5)
    assert len({tuple(row) for row in rows}) == 3
    assert rows == generate(model, [[1]] * 3, max_new_tokens=10, seed=5)
    assert rows != generate(model, [[1]] * 3, max_new_tokens=10, seed=6)


def test_generator_continues_and_equals_its_seed():
    model = build()
    generator = torch.Generator().manual_seed(5)
    first = generate(model, [1], max_new_tokens=10, generator=generator)
    assert first == generate(model, [1], max_new_tokens=10, seed=5)
    assert first != generate(model, [1], max_new_tokens=10, generator=generator)


def test_global_random_state_is_untouched_by_seeded_and_greedy_generation():
    model = build()
    before = torch.random.get_rng_state()
    generate(model, [1], max_new_tokens=3, seed=5)
    generate(model, [1], max_new_tokens=3, temperature=0)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_draws_follow_the_models_distribution():
    model = build()
    expected = model(torch.tensor([[4]]))[0, -1].softmax(-1)
    num_draws = 4000
    counts = Counter(row[0] for row in generate(model, [[4]] * num_draws, max_new_tokens=1, seed=0))
    for token, probability in enumerate(expected.tolist()):
        sigma = math.sqrt(num_draws * probability * (1 - probability))
        assert abs(counts[token] - num_draws * probability) < 5 * sigma + 1


@pytest.mark.parametrize("options", [{"top_k": 1}, {"top_p": 1e-9}, {"temperature": 1e-30}])
def test_the_narrowest_choices_are_greedy(options):
    model = build()
    assert generate(model, [1, 2], max_new_tokens=10, seed=0, **options) == greedy_by_hand(model, [1, 2], 10)


def test_prompts_may_be_arrays_and_tensors():
    model = build()
    expected = generate(model, [[1, 2], [3]], max_new_tokens=4, temperature=0)
    for convert in (lambda ids: np.array(ids, dtype=np.uint16), torch.tensor):
        assert generate(model, convert([1, 2]), max_new_tokens=4, temperature=0) == expected[0]
        assert generate(model, [convert([1, 2]), convert([3])], max_new_tokens=4, temperature=0) == expected
        assert generate(model, convert([[1, 2]]), max_new_tokens=4, temperature=0) == expected[:1]


@pytest.mark.parametrize("prompt", [[1.5], [[1], [2.0]], np.array([1.0])])
def test_ids_that_are_no_integers_are_refused(prompt):
    with pytest.raises(TypeError, match="integer"):
        generate(build(), prompt, max_new_tokens=1)


def test_no_new_tokens_is_an_empty_continuation():
    assert generate(build(), [1], max_new_tokens=0) == []
    assert generate(build(), [[1], [2]], max_new_tokens=0) == [[], []]


@pytest.mark.parametrize("training", [False, True])
def test_training_mode_is_restored_and_training_goes_on(training):
    model = build().train(training)
    generate(model, [1], max_new_tokens=2, seed=0)
    assert model.training == training
    model(torch.tensor([[1, 2]])).sum().backward()  # nothing in it is left an inference tensor


def test_diverged_model_is_named_as_such():
    model = build().train()
    with torch.no_grad():
        model.lm_head.weight.fill_(torch.nan)
    with pytest.raises(ValueError, match="logits are not finite; its training diverged"):
        generate(model, [1], max_new_tokens=1)
    assert model.training


@pytest.mark.parametrize("prompt", [[], [[]], [[1], []]])
def test_empty_prompt_is_refused_with_the_remedy(prompt):
    with pytest.raises(ValueError, match=r"the prompt is empty; give at least one id, .*<\|endoftext\|>"):
        generate(build(), prompt, max_new_tokens=1)


@pytest.mark.parametrize(
    ("prompt", "options", "message"),
    [
        ([1, 30], {}, "holds id 30, but the model's vocab_size is 30; encode it with the tokenizer"),
        ([[1], [-1]], {}, "holds id -1"),
        ([1], {"stop_id": 30}, "stop_id 30 never comes, because the model's vocab_size is 30"),
        ([1], {"max_new_tokens": -1}, "max_new_tokens must be at least 0, got -1"),
        ([1], {"temperature": math.nan}, "temperature must be finite, got nan"),
        ([1], {"top_k": 0}, "top_k must be at least 1, got 0"),
        ([1], {"top_p": 0.0}, r"top_p must be in \(0, 1\], got 0\.0"),
        ([1], {"top_p": 1.1}, r"top_p must be in \(0, 1\], got 1\.1"),
        ([1], {"stop_id": [2, 31]}, "stop_id 31 never comes"),
        ([1], {"slide_by": 0}, "slide_by must be from 1 to 8, got 0"),
        ([1], {"slide_by": 9}, "slide_by must be from 1 to 8, got 9"),
        ([1], {"seed": 1, "generator": torch.Generator()}, "a seed or a generator, not both"),
    ],
)
def test_impossible_arguments_are_refused(prompt, options, message):
    with pytest.raises(ValueError, match=message):
        generate(build(), prompt, **{"max_new_tokens": 1} | options)


class LetterCodec:
    vocab_size = 26

    def encode(self, text):
        return [ord(letter) - ord("a") for letter in text]

    def decode(self, ids):
        return "".join(chr(i + ord("a")) for i in ids)


def test_text_goes_through_the_tokenizer_both_ways():
    model, codec = build(vocab_size=64), LetterCodec()  # more ids than letters: the others are never drawn
    text = generate_text(model, codec, "abc", max_new_tokens=10, seed=3, top_k=5)
    assert codec.encode(text) == generate(model, [0, 1, 2], max_new_tokens=10, num_ids=26, seed=3, top_k=5)
    with pytest.raises(ValueError, match="the prompt is empty"):
        generate_text(model, codec, "", max_new_tokens=1)


@pytest.mark.parametrize("temperature", [0.0, 100.0])
def test_ids_beyond_num_ids_are_never_drawn(temperature):
    drawn = generate(build(vocab_size=64), [0], max_new_tokens=40, num_ids=3, seed=0, temperature=temperature)
    assert set(drawn) <= {0, 1, 2}
    with pytest.raises(ValueError, match="num_ids must be at least 1, got 0"):
        generate(build(vocab_size=64), [0], max_new_tokens=1, num_ids=0)


def test_any_of_several_ids_stops_a_row():
    model = build()
    alone = generate(model, [[1], [2], [3]], max_new_tokens=12, seed=0)
    stop_ids = {alone[0][5], alone[1][3]}
    stopped = generate(model, [[1], [2], [3]], max_new_tokens=12, seed=0, stop_id=stop_ids)

    def until_stop(row):
        return row[: min((row.index(id_) for id_ in stop_ids if id_ in row), default=len(row))]

    assert stopped == [until_stop(row) for row in alone]
    assert stopped != alone
    assert generate(model, [1], max_new_tokens=12, seed=0, stop_id=np.array([*stop_ids])) == stopped[0]


def test_a_stream_yields_each_step_as_it_is_made():
    model = build()
    prompts = [[1], [2, 3]]
    whole = generate(model, prompts, max_new_tokens=10, seed=0)
    stop_id = whole[1][4]
    steps = list(stream(model, prompts, max_new_tokens=10, seed=0, stop_id=stop_id))
    stopped = generate(model, prompts, max_new_tokens=10, seed=0, stop_id=stop_id)
    assert [[step.ids[row] for step in steps if step.ids[row] is not None] for row in (0, 1)] == stopped
    first = next(iter(stream(model, prompts, max_new_tokens=10**9, seed=0)))  # nothing is made ahead
    assert first == Step(ids=(whole[0][0], whole[1][0]), stop_probabilities=({}, {}))


def test_a_stream_says_how_likely_the_end_was_to_the_model():
    model = build()
    options = {"max_new_tokens": 6, "stop_id": [4, 9], "temperature": 0.0}
    steps = list(stream(model, [[1], [2, 3]], **options))
    for row, prompt in enumerate(([1], [2, 3])):
        ids = list(prompt)
        for step in steps:
            if step.stop_probabilities[row] is None:
                continue
            mass = model(torch.tensor([ids[-8:]]))[0, -1].softmax(-1)
            assert step.stop_probabilities[row] == pytest.approx({4: mass[4].item(), 9: mass[9].item()}, rel=1e-4)
            if step.ids[row] is not None:
                ids.append(step.ids[row])


def test_the_model_keeps_its_mode_between_the_steps_of_a_stream():
    model = build().train()
    for _ in stream(model, [[1]], max_new_tokens=2):
        assert model.training
