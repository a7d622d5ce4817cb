import io

from rich.console import Console

from cs336.cli.live import Standing, TrainingLines, TrainingPanel, spark_line


def record(kind, step, **values):
    return {"kind": kind, "step": step, "tokens": 64 * step, "elapsed_s": 0.1 * step} | values


def training(step, loss=2.5, **more):
    values = {"loss": loss, "lr": 1e-3, "grad_norm": 0.5, "tokens_per_s": 12345.6, "memory_bytes": 3 * 2**30}
    return record("train", step, **values | more)


def shown(show, *records, width=100):
    """What a console would show of records."""
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    display = show(console)
    for one in records:
        display(one)
    if isinstance(display, TrainingPanel):
        console.print(display.render())
    return console.file.getvalue()


def panel(console):
    return TrainingPanel(console, "runs/a", num_steps=100)


def lines(console):
    return TrainingLines(console, num_steps=100)


EVENTS = (
    training(10, mfu=0.312),
    record("valid", 10, loss=2.25, bits_per_byte=1.125),
    record("valid", 20, loss=2.5, bits_per_byte=1.25),
    record("sample", 20, prompt="Once", text=" upon\na time"),
)


def test_the_panel_shows_how_the_run_stands():
    text = shown(panel, *EVENTS)
    for words in ("runs/a", "20 / 100 steps", "2.5000", "1.250 bits/byte", "best 2.2500 at step 10", "1.00e-03"):
        assert words in text
    for words in ("gradient norm 0.500", "12,346 tokens/s", "MFU 31.2 %", "memory 3.00 GiB", "left", "Once upon"):
        assert words in text


def test_the_panel_fits_a_narrow_terminal_and_an_empty_run():
    assert max(map(len, shown(panel, *EVENTS, width=50).splitlines())) <= 50
    assert "0 / 100 steps" in shown(panel)


def test_a_log_gets_plain_lines():
    text = shown(lines, *EVENTS, training(100, loss=2.0))
    assert "step 10 of 100: loss 2.5000  lr 1.00e-03  gradient norm 0.500  12,346 tokens/s  MFU 31.2 %" in text
    assert "step 10: validation loss 2.2500, 1.125 bits/byte" in text
    assert "step 20: sample\n  │ Once upon\n  │ a time" in text
    assert "step 100 of 100: loss 2.0000  validation 2.5000" in text  # the last one comes whatever the clock says
    assert "\x1b" not in text


def test_a_log_is_not_flooded():
    text = shown(lines, *(training(step) for step in range(1, 60)))
    assert text.count("step ") == 1


def test_what_is_unknown_is_left_out():
    text = shown(panel, training(10, memory_bytes=None))
    assert "MFU" not in text
    assert "memory" not in text


def test_a_divergence_is_loud():
    event = record("diverged", 7, loss="nan", grad_norm="inf", lr=1.0)
    for show in (panel, lines):
        assert "step 7: loss nan, gradient norm inf: the run has diverged" in shown(show, training(6), event)


def test_a_square_bracket_in_the_title_is_no_markup():
    console = Console(file=io.StringIO(), width=80)
    console.print(TrainingPanel(console, "runs/[red]x", num_steps=10).render())
    assert "runs/[red]x" in console.file.getvalue()


def test_the_remaining_time_goes_by_the_steps_of_this_process():
    standing = Standing(num_steps=100)
    assert standing.eta_s() is None
    standing.take(training(50))
    assert standing.eta_s() is None
    standing.take(training(60))
    assert standing.eta_s() >= 0


def test_the_spark_line_falls_with_the_loss_and_leaves_out_what_is_not_finite():
    assert spark_line([8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0], width=8) == "█▇▆▅▄▃▂▁"
    assert spark_line([2.0, 2.0, 1.0, 1.0], width=2) == "█▁"
    assert spark_line([1.0, float("nan")], width=9) == "▁"
    assert spark_line([], width=9) == ""
