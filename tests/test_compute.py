"""Seeds, threads and devices are taken and given back."""

from __future__ import annotations

import pytest
import torch

from layerwise.compute import choose_device, choose_threads, session


def test_a_session_is_reproducible_and_leaves_no_trace() -> None:
    torch.manual_seed(7)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    with session(1, 1):
        first = torch.rand(3)
        assert torch.get_num_threads() == 1
    assert torch.equal(torch.get_rng_state(), state) and torch.get_num_threads() == threads
    with pytest.raises(RuntimeError), session(1, 1):
        assert torch.equal(torch.rand(3), first)
        raise RuntimeError
    assert torch.equal(torch.get_rng_state(), state) and torch.get_num_threads() == threads


def test_small_work_takes_one_thread_and_the_user_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_threads(None, 1e5) == 1
    assert choose_threads(3, 1e5) == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert choose_threads(None, 1e10) == 2
    with pytest.raises(ValueError, match="at least 1"):
        choose_threads(0, 1)


def test_devices() -> None:
    assert choose_device("cpu", 0) == torch.device("cpu")
    assert choose_device(None, 0) == torch.device("cpu")
    with pytest.raises(ValueError, match="no device 'warp'"):
        choose_device("warp", 0)
