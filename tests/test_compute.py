"""Seeds, threads and devices are taken and given back."""

from __future__ import annotations

import pytest
import torch

from layerwise.compute import choose_device, choose_precision, choose_threads, session


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


@pytest.mark.parametrize("has", [{"avx512_bf16": True}, {"amx_bf16": True}, {"avx512_bf16": False}, {}])
def test_short_numbers_are_for_large_work_on_processors_that_have_them(
    has: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has, raising=False)
    cpu = torch.device("cpu")
    assert choose_precision("auto", cpu, 1e9) == ("bfloat16" if any(has.values()) else "float32")
    assert choose_precision("auto", cpu, 1e4) == "float32"
    assert choose_precision("bfloat16", cpu, 1) == "bfloat16" and choose_precision("float32", cpu, 1e9) == "float32"
    with pytest.raises(ValueError, match=r"auto, float32 or bfloat16; got 'float16'"):
        choose_precision("float16", cpu, 1)
