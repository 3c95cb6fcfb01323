"""Batches that grow, weight decays that change, rates that rise and fall: sums and closed forms."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from induction.study.config import ModelFields
from induction.study.schedule import RateDecay, Schedule

STEPS = st.integers(0, 300)


@st.composite
def changes(draw, name, values):
    """A list as `batch_growth` and `weight_decay_changes` have it."""
    steps = sorted(draw(st.sets(st.integers(1, 200), max_size=4)))
    return [{"step": step, name: draw(values)} for step in steps]


def schedule(**settings):
    return Schedule({"batch_size": 4, "warmup_steps": 0, "weight_decay": 0.1, **settings})


def latest(step, before, rows, name):
    """The value of the last row that has begun, found by going through all of them."""
    value = before
    for row in rows:
        if row["step"] <= step:
            value = row[name]
    return value


@given(first=st.integers(1, 50), growth=changes("batch_size", st.integers(1, 50)), step=STEPS)
def test_sequences_before_a_step_are_the_sum_of_the_steps_before(first, growth, step):
    drawn = schedule(batch_size=first, batch_growth=growth)
    sizes = [latest(s, first, growth, "batch_size") for s in range(301)]
    assert drawn.batch_size_at(step) == sizes[step]
    assert drawn.sequences_before(step) == sum(sizes[:step])
    assert drawn.batch_sizes == [first, *(row["batch_size"] for row in growth)]


@given(rows=changes("weight_decay", st.floats(0, 1)), step=STEPS)
def test_weight_decay_is_that_of_the_last_change(rows, step):
    assert schedule(weight_decay_changes=rows).weight_decay_at(step) == latest(step, 0.1, rows, "weight_decay")


@given(warmup=st.integers(0, 50), step=STEPS)
def test_rates_rise_in_equal_steps_to_their_peak_and_stay(warmup, step):
    expected = (step + 1) / warmup if step + 1 < warmup else 1.0
    assert schedule(warmup_steps=warmup).rate_at(step) == pytest.approx(expected)


@given(start=st.integers(0, 100), length=st.integers(1, 100), to=st.floats(0, 0.99), step=STEPS)
def test_a_linear_fall_is_a_line_between_two_levels(start, length, to, step):
    decay = {"shape": "linear", "start": start, "stop": start + length, "to": to}
    if step <= start:
        expected = 1.0
    elif step >= start + length:
        expected = to
    else:
        expected = 1 + (to - 1) * (step - start) / length
    assert schedule(rate_decay=decay).rate_at(step) == pytest.approx(expected)


def test_a_cosine_falls_slowly_at_both_ends():
    """At a sixth, a quarter, a third and half of the way: (1 + cos) / 2 of 30, 45, 60 and 90 degrees."""
    falling = schedule(rate_decay={"shape": "cosine", "start": 100, "stop": 340, "to": 0.2})
    shares = {
        0: 1,
        100: 1,
        140: (2 + math.sqrt(3)) / 4,
        160: (2 + math.sqrt(2)) / 4,
        180: 3 / 4,
        220: 1 / 2,
        340: 0,
        999: 0,
    }
    assert {step: falling.rate_at(step) for step in shares} == pytest.approx(
        {step: 0.2 + 0.8 * share for step, share in shares.items()}
    )


def test_a_fall_that_begins_in_the_warm_up_acts_on_top_of_it():
    both = schedule(warmup_steps=10, rate_decay={"shape": "linear", "start": 0, "stop": 10, "to": 0.0})
    assert [both.rate_at(step) for step in (0, 4, 9, 10)] == pytest.approx([0.1, 0.5 * 0.6, 1.0 * 0.1, 0.0])


@pytest.mark.parametrize("start", [10, 11])
def test_a_fall_must_begin_before_it_ends(start):
    with pytest.raises(ValidationError, match=rf"start: step {start} is not before stop: step 10"):
        RateDecay(start=start, stop=10)


@pytest.mark.parametrize("name", ["batch_growth", "weight_decay_changes"])
def test_changes_must_be_in_their_order(name):
    value = {"batch_growth": {"batch_size": 8}, "weight_decay_changes": {"weight_decay": 0.5}}[name]
    with pytest.raises(ValidationError, match=rf"{name}: steps \[7, 7\] are not in ascending order"):
        ModelFields(**{name: [{"step": 7, **value}, {"step": 7, **value}]})


def test_a_schedule_that_is_not_set_leaves_the_recipe_as_it_was():
    settings = ModelFields().model_dump(mode="json", exclude_none=True)
    assert not settings.keys() & {"batch_growth", "weight_decay_changes", "rate_decay"}
    assert Schedule(settings).rate_at(10**6) == 1.0
