from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cs336.data import PermutedWindows, RandomWindows, window_order
from cs336.data.order import permute


def keys(*seed):
    return list(np.random.SeedSequence(seed).generate_state(8, np.uint64))


@given(size=st.integers(1, 3000), seed=st.integers(0, 2**32))
def test_the_permutation_is_one(size, seed):
    sent = permute(np.arange(size, dtype=np.uint64), size, keys=keys(seed))
    assert sorted(sent.tolist()) == list(range(size))


@given(size=st.integers(2, 2**40), seed=st.integers(0, 2**32), picks=st.lists(st.integers(0, 2**40), max_size=20))
def test_a_place_is_sent_to_the_same_wherever_it_is_asked_for(size, seed, picks):
    places = np.array([pick % size for pick in picks], dtype=np.uint64)
    together = permute(places, size, keys=keys(seed))
    alone = [permute(places[i : i + 1], size, keys=keys(seed))[0] for i in range(len(places))]
    assert together.tolist() == alone
    assert all(place < size for place in alone)


def test_every_place_is_sent_everywhere_equally_often():
    size, num_keys = 6, 6000
    found = np.array([permute(np.arange(size, dtype=np.uint64), size, keys=keys(key)) for key in range(num_keys)])
    expected, sigma = num_keys / size, (num_keys / size * (1 - 1 / size)) ** 0.5
    for place in range(size):
        counts = Counter(found[:, place].tolist())
        assert all(abs(counts[target] - expected) < 5 * sigma for target in range(size))
    neighbours = np.mean(np.abs(np.diff(found.astype(int), axis=1)) == 1)
    assert neighbours == pytest.approx(1 / 3, abs=0.02)  # 2 (n - 1) of n (n - 1) ordered pairs


def windows_of(order, num_steps, batch_size):
    return np.concatenate([order.starts(step, batch_size) for step in range(num_steps)])


@pytest.mark.parametrize("num_ids", [12, 13, 20, 21, 99, 100, 101, 5000])
def test_an_epoch_reads_every_window_once_and_no_id_twice(num_ids):
    order = PermutedWindows(num_ids, 10, seed=3)
    n = order.num_windows
    for epoch in range(4):
        starts = np.sort(windows_of(order, n * (epoch + 1), 1)[-n:])
        assert starts[0] >= 0
        assert starts[-1] + 10 + 1 <= num_ids  # the last target is there, too
        assert (np.diff(starts) == 10).all()
        assert num_ids - 1 - n * 10 < 20 or num_ids < 30  # hardly anything is left out


def test_epochs_differ_in_order_and_in_where_they_cut():
    order = PermutedWindows(1000, 10, seed=0)
    n = order.num_windows
    first, second = order.starts(0, n), order.starts(1, n)
    assert (np.argsort(first) != np.argsort(second)).any()
    shifts = {int(order.starts(epoch, n).min()) for epoch in range(40)}
    assert shifts <= set(range(10))
    assert len(shifts) > 7


def test_the_order_does_not_depend_on_the_batch_size():
    order = PermutedWindows(1000, 10, seed=0)
    assert np.array_equal(windows_of(order, 60, 4), windows_of(order, 4, 60))  # past the end of an epoch
    assert np.array_equal(order.starts(2, 60)[30:], order.starts(5, 30))


@pytest.mark.parametrize("name", ["permuted", "random"])
def test_a_step_is_a_function_of_seed_and_step_alone(name):
    one, same, other = (window_order(name, 1000, 10, seed=seed) for seed in (1, 1, 2))
    one.starts(0, 8)
    assert np.array_equal(one.starts(5, 8), same.starts(5, 8))
    assert not np.array_equal(one.starts(5, 8), other.starts(5, 8))
    assert not np.array_equal(one.starts(5, 8), one.starts(6, 8))


def test_random_windows_start_everywhere_and_repeat():
    starts = windows_of(RandomWindows(20, 5, seed=0), 200, 5)
    assert set(starts) == set(range(15))


@pytest.mark.parametrize("name", ["permuted", "random"])
def test_the_shortest_file_has_one_window(name):
    assert window_order(name, 11, 10, seed=0).starts(7, 3).tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match=r"context_length \+ 1 = 11 ids for one example, got 10"):
        window_order(name, 10, 10, seed=0)
    with pytest.raises(ValueError, match="context_length must be at least 1, got 0"):
        window_order(name, 10, 0, seed=0)
