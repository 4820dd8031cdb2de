"""Signals that stop a training: which are recorded, which interrupt at once, and the exceptions."""

from __future__ import annotations

import os
import signal

import pytest

from spinenet_tf.training import processes
from spinenet_tf.training.preemption import Preempted, Preemption, Stop

pytestmark = pytest.mark.usefixtures("python_ctrl_c")


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(("number", "kind"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Preempted)])
def test_a_signal_is_noted_and_told_where_training_can_stop(number: signal.Signals, kind: type) -> None:
    preemption = Preemption()
    with preemption.noted():
        preemption.check()
        send(number)
        with pytest.raises(Stop) as stop:
            preemption.check()
    error = stop.value.after("after step 7.")
    assert type(error) is kind
    assert str(error) == f"Stopped by {'Ctrl-C' if kind is KeyboardInterrupt else 'SIGTERM'} after step 7."
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler, "it was given back"


def test_a_second_ctrl_c_leaves_at_once() -> None:
    preemption = Preemption()
    with preemption.noted():
        send(signal.SIGINT)
        assert preemption.requested == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


def test_ctrl_c_interrupts_an_evaluation() -> None:
    preemption = Preemption()
    with preemption.noted(), preemption.interrupting(), pytest.raises(Stop):
        send(signal.SIGINT)


def test_all_processes_stop_for_the_signal_that_came_to_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "largest", lambda number: max(number, int(signal.SIGINT)))
    with pytest.raises(Stop) as stop:
        Preemption().check()
    assert isinstance(stop.value.after("."), KeyboardInterrupt)


def test_ctrl_c_that_is_meant_for_others_is_not_taken() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    preemption = Preemption()
    with preemption.noted():
        send(signal.SIGINT)
        preemption.check()
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
