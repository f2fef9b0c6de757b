"""Every test starts from the same random state, so none passes or fails by luck or by its neighbours."""

import pytest
import torch


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)
