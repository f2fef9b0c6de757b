"""What layers answer, against the same computed by hand; and that the module is left as it was found."""

from __future__ import annotations

import copy
import dataclasses
from collections import OrderedDict, namedtuple
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layerwise import lens
from layerwise.lens.capture import Seen
from layerwise.lens.running import evaluating


class Block(nn.Module):
    """Reuses a module, works in place, and adds and rectifies without modules."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        h = self.relu(self.conv(x))
        h = self.relu(self.conv(h))
        h += x
        return F.relu_(h.mul(2)) - 1

    def by_hand(self, x: Tensor) -> dict[str, Tensor]:
        first = self.conv(x)
        rectified = first.relu()
        second = self.conv(rectified)
        again = second.relu()
        added = again + x
        doubled = added * 2
        positive = doubled.relu()
        last = positive - 1
        return {
            "conv#1": first, "relu#1": rectified, "conv#2": second, "relu#2": again, ":add": added, ":mul": doubled,
            ":relu": positive, ":sub": last, "": last,
        }  # fmt: skip


def only(module: nn.Module, layers: Any, rows: Any, **settings: Any) -> dict[str, Seen]:
    (batch,) = lens.stream(module, layers, rows, **settings)
    return batch


def hooks(module: nn.Module) -> int:
    return sum(len(p._forward_hooks) + len(p._forward_pre_hooks) + len(p._backward_hooks) for p in module.modules())


def test_reused_functional_and_in_place_operations_are_seen_as_they_came() -> None:
    block, x = Block(), torch.randn(4, 3, 5, 5)
    seen, truth = only(block, ["", "*", ":*"], x), block.by_hand(x)
    assert list(seen) == list(truth)
    for name, values in truth.items():
        torch.testing.assert_close(seen[name].values, values.detach())


def test_gradients_are_those_of_what_came_out_before_it_was_changed_in_place() -> None:
    block, x = Block(), torch.randn(4, 3, 5, 5)
    seen = only(block, ["*", ":*"], x, of=lambda output: output.square().sum((1, 2, 3)))
    truth = block.by_hand(x)
    score = truth.pop("").square().sum()
    for (name, values), gradient in zip(truth.items(), torch.autograd.grad(score, list(truth.values()))):
        torch.testing.assert_close(seen[name].gradients, gradient, msg=name)
        torch.testing.assert_close(seen[name].values, values.detach(), msg=name)
    assert all(p.grad is None for p in block.parameters())


def test_one_call_of_a_module_that_runs_several_times() -> None:
    assert list(only(Block(), "relu#2", torch.rand(1, 3, 4, 4))) == ["relu#2"]


def test_layers_are_named_by_module_name_or_glob() -> None:
    net = nn.Sequential(OrderedDict(layer1=Block(), layer2=Block(), out=nn.Flatten()))
    x = torch.rand(2, 3, 4, 4)
    assert list(only(net, net.layer2, x)) == list(only(net, "layer2", x)) == ["layer2"]
    assert list(only(net, "layer?.conv", x)) == [f"layer{i}.conv#{call}" for i in (1, 2) for call in (1, 2)]
    assert list(only(net, ["out", net.layer1], x)) == ["layer1", "out"]  # in the order in which they ran


# -- what layers return ------------------------------------------------------------------------------------------------

Pair = namedtuple("Pair", ["first", "second"])


@dataclasses.dataclass
class Answer:
    first: Tensor
    second: Tensor
    note: str = "kept"


RETURNS = {
    "tuple": (lambda a, b: (a, b), "[0]", "[1]"),
    "list": (lambda a, b: [a, [b]], "[0]", "[1][0]"),
    "named tuple": (Pair, "[0]", "[1]"),
    "mapping": (lambda a, b: OrderedDict(first=a, second=b), "[first]", "[second]"),
    "dataclass": (Answer, "[first]", "[second]"),
    "one of two": (lambda a, b: (a + b, None, torch.arange(4)), "", ""),
}


class Returns(nn.Module):
    def __init__(self, make: Any) -> None:
        super().__init__()
        self.make = make

    def forward(self, x: Tensor) -> Any:
        return self.make(x * 2, x * 3)


@pytest.mark.parametrize("kind", RETURNS)
def test_tuples_mappings_and_dataclasses_are_taken_apart_and_passed_on_whole(kind: str) -> None:
    make, first, second = RETURNS[kind]
    module = Returns(make)
    with lens.watch(module, [""]) as seen:
        came = module(torch.ones(4, 2))
    assert type(came) is type(make(torch.ones(4, 2), torch.ones(4, 2)))
    assert list(seen.named) == list(dict.fromkeys([first, second]))
    if kind != "one of two":
        torch.testing.assert_close(seen.named[second].tensor, torch.full((4, 2), 3.0))
    if kind == "dataclass":
        assert came.note == "kept"


SHAPES = {
    "table": (nn.Linear(5, 3), (7, 5), 1, ()),
    "picture": (nn.Conv2d(5, 3, 1), (7, 5, 4, 6), 1, (4, 6)),
    "sequence": (nn.Linear(5, 3), (7, 4, 5), 2, (4,)),
    "sound": (nn.Sequential(nn.Conv1d(5, 3, 1), nn.ReLU()), (7, 5, 4), 1, (4,)),
    "channels last": (nn.Sequential(nn.Linear(5, 3), nn.GELU()), (7, 4, 6, 5), 3, (4, 6)),
    "steps first": (nn.MultiheadAttention(4, 2), (5, 7, 4), 2, (5,)),
    "as many rows as steps": (nn.LSTM(4, 3), (7, 7, 4), 2, (7,)),
    "a number per row": (nn.Flatten(0), (7,), 1, ()),
    "picture with a norm of the whole": (
        nn.Sequential(nn.Conv2d(5, 3, 1), nn.LayerNorm([3, 4, 6])),
        (7, 5, 4, 6),
        1,
        (4, 6),
    ),
    "root mean square": (nn.Sequential(nn.Linear(5, 3), nn.RMSNorm(3)), (7, 4, 6, 5), 3, (4, 6)),
}


@pytest.mark.parametrize("kind", SHAPES)
def test_positions_become_rows_and_are_kept(kind: str) -> None:
    module, shape, axis, positions = SHAPES[kind]
    x = torch.rand(shape)
    module.eval()
    if kind == "steps first":  # its rows are the second axis of what it is given
        with lens.watch(module, "") as seen:
            module(x, x, x, need_weights=False)
        layer = seen.taken(7)[""]
    elif kind == "as many rows as steps":
        layer = only(module, "", x)["[0]"]
    else:
        layer = only(module, "", x)[""]
    assert (layer.axis, layer.positions, len(layer.values)) == (axis, positions, 7)
    rows = layer.rows()
    assert rows.shape == (layer.values.numel() // layer.units, layer.units)
    index = len(rows) - 1 - len(rows) // 3
    row, *at = layer.where(index)
    torch.testing.assert_close(rows[index], layer.values.movedim(axis, -1)[(row, *at)])


class Crowded(nn.Module):
    """Steps of 4 come first inside, an LSTM has 4 last states, and places are looked up without rows."""

    def __init__(self) -> None:
        super().__init__()
        self.place, self.encoder = nn.Embedding(4, 8), nn.TransformerEncoderLayer(8, 2, 5, 0.0)
        self.lstm, self.attention = nn.LSTM(8, 4, 2, bidirectional=True), nn.MultiheadAttention(8, 2, batch_first=True)
        self.top = nn.utils.parametrizations.weight_norm(nn.Linear(8, 5))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.place(torch.arange(x.shape[1]))
        x, _ = self.lstm(self.encoder(x.transpose(0, 1)))
        x, _ = self.attention(*[x.transpose(0, 1)] * 3)
        return self.top(x.mean(1))


@pytest.mark.parametrize("count", [2, 4, 5, 8, 9])
def test_what_is_seen_of_a_row_does_not_depend_on_how_many_come_along(count: int) -> None:
    net, x = Crowded().eval(), torch.randn(9, 4, 8)
    seven = only(net, ["*", "encoder:*"], x[:7])  # as which there is nothing else
    seen = only(net, ["*", "encoder:*"], x[:count])
    assert list(seen) == list(seven) and not any("place" in name or "parametr" in name for name in seven)
    for name, layer in seen.items():
        both = min(count, 7)
        torch.testing.assert_close(layer.values[:both], seven[name].values[:both], msg=name)
        assert (layer.axis, layer.positions) == (seven[name].axis, seven[name].positions), name
    places = lens.capture(net, "lstm[1][0]", x.split(count))["lstm[1][0]"]
    torch.testing.assert_close(places[:7], seven["lstm[1][0]"].flat())
    assert not hooks(net)


class Stateful(nn.Module):
    """Remembers how many rows it saw first."""

    rows = 0

    def forward(self, x: Tensor) -> Tensor:
        self.rows = self.rows or len(x)
        if len(x) != self.rows:
            raise RuntimeError("other rows")
        return x * 2


def test_a_module_that_takes_no_other_number_of_rows_is_seen_by_its_shapes() -> None:
    torch.testing.assert_close(only(Stateful(), "", torch.ones(3, 3))[""].values, torch.full((3, 3), 2.0))


# -- batches and modes -------------------------------------------------------------------------------------------------


class Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(9, 4)

    def forward(self, ids: Tensor, mask: Tensor) -> dict[str, Tensor]:
        return {"hidden": self.embed(ids) * mask[..., None]}


def test_batches_may_be_tensors_arguments_or_named_arguments() -> None:
    ids, mask, net = torch.randint(9, (6, 5)), torch.ones(6, 5), Named()
    as_tuples = [(ids[:4], mask[:4]), (ids[4:], mask[4:])]
    as_mappings = [{"mask": each[1], "ids": each[0]} for each in as_tuples]
    for batches in (as_tuples, as_mappings):
        sizes = [len(batch["embed"].values) for batch in lens.stream(net, "embed", batches)]
        assert sizes == [4, 2]
        torch.testing.assert_close(lens.capture(net, "embed", batches)["embed"], net.embed(ids).detach().flatten(1))


def test_gradients_start_at_a_frozen_layer_fed_with_whole_numbers() -> None:
    net = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(20, 2)).requires_grad_(False)
    seen = only(net, "0", torch.randint(9, (6, 5)), of=lambda output: output[:, 1])
    torch.testing.assert_close(seen["0"].gradients, net[2].weight[1].view(1, 5, 4).expand(6, 5, 4))


def test_double_precision_rows_meet_a_single_precision_module() -> None:
    net = nn.Linear(3, 2)
    x = torch.rand(4, 3, dtype=torch.float64)
    torch.testing.assert_close(lens.capture(net, [""], x.numpy())[""], net(x.float()).detach())


def test_every_part_gets_back_the_mode_it_had() -> None:
    net = nn.Sequential(nn.Dropout(0.5), nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 5))).train()
    net[1][0].eval()
    modes = [part.training for part in net.modules()]
    state = copy.deepcopy(net.state_dict())
    with pytest.warns(UserWarning, match="training mode"):
        lens.capture(net, ["1"], torch.rand(8, 6))
    assert [part.training for part in net.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


class Keeps(nn.Module):
    """Keeps what it answered last, a running mean, and how often it ran."""

    ran = 0

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        self.ran, self.last, self.mean = self.ran + 1, x * 2, self.mean + x.mean(0)
        return self.last


def test_every_part_gets_back_what_it_kept() -> None:
    net, x = nn.Sequential(nn.Linear(3, 3), Keeps()), torch.rand(4, 3)
    for _ in range(2):  # before it ran for the first time, and after
        own = [vars(part) | dict(part.named_buffers(recurse=False)) for part in net.modules()]
        lens.capture(net, ["1", "1:mul"], x)
        for part, before in zip(net.modules(), own, strict=True):
            after = vars(part) | dict(part.named_buffers(recurse=False))
            assert after.keys() == before.keys() and all(after[name] is before[name] for name in before)
        net(x)


@pytest.mark.parametrize(
    "part",
    [
        nn.MultiheadAttention(4, 2, 0.1),
        nn.LSTM(4, 3, 2, dropout=0.1),
        nn.RReLU(),
        nn.InstanceNorm1d(3, track_running_stats=True),
    ],
    ids=lambda part: type(part).__name__,
)
def test_whatever_answers_otherwise_in_training_is_told(part: nn.Module) -> None:
    net = nn.ModuleDict({"part": part})
    net.forward = lambda x: x * 2  # type: ignore[method-assign]
    with pytest.warns(UserWarning, match=rf"training mode, in which {type(part).__name__} answers otherwise"):
        lens.capture(net, "", torch.rand(2, 3))
    assert part.training


@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad, torch.inference_mode])
def test_looking_leaves_the_mode_of_gradients_as_it_was(mode: Any) -> None:
    net = nn.Linear(3, 2)
    with mode():
        before = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        with evaluating(net):
            assert mode is torch.inference_mode or torch.is_grad_enabled() == before[0]
        assert (torch.is_grad_enabled(), torch.is_inference_mode_enabled()) == before


def test_rows_and_calls_of_inference_mode_have_gradients_too() -> None:
    net = nn.Sequential(nn.Linear(3, 2), nn.Tanh())
    with torch.inference_mode():
        x = torch.rand(4, 3)
        inside = only(net, "0", x, of=lambda output: output[:, 0])["0"]
    outside = only(net, "0", x, of=lambda output: output[:, 0])["0"]
    assert inside.gradients is not None and torch.equal(inside.gradients, outside.gradients) and outside.gradients.any()


@pytest.mark.parametrize("how", ["wrapped", "in place"])
def test_a_compiled_module_shows_its_layers_also_after_it_ran(how: str) -> None:
    net, x = nn.Sequential(nn.Linear(3, 2), nn.ReLU()), torch.rand(4, 3)
    plain = only(net, ["0", "0:*"], x)
    if how == "wrapped":
        compiled: nn.Module = torch.compile(net, backend="eager")  # type: ignore[assignment]
    else:
        compiled = net
        compiled.compile(backend="eager")
    compiled(x)
    prefix = "_orig_mod." if how == "wrapped" else ""
    seen = only(compiled, [f"{prefix}0", f"{prefix}0:*"], x)
    assert list(seen) == [f"{prefix}{name}" for name in plain]
    assert all(torch.equal(mine.values, theirs.values) for mine, theirs in zip(seen.values(), plain.values()))


class Breaks(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("broken")


@pytest.mark.parametrize("layers", ["0", "*", "*:*"])
def test_no_hook_is_left_even_after_an_error(layers: str) -> None:
    for net in (nn.Sequential(nn.Linear(3, 3), nn.ReLU()), nn.Sequential(nn.Linear(3, 3), Breaks())):
        before = net[0].training, torch.backends.mha.get_fastpath_enabled()
        with pytest.raises(RuntimeError, match="broken") if isinstance(net[1], Breaks) else torch.no_grad():
            lens.capture(net, layers, torch.rand(2, 3))
        assert not hooks(net)
        assert (net[0].training, torch.backends.mha.get_fastpath_enabled()) == before
        assert torch.overrides._get_current_function_mode() is None


def test_a_fused_transformer_layer_shows_its_parts() -> None:
    net = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    assert set(lens.capture(net, ["self_attn", "linear1"], torch.rand(2, 3, 8))) == {"self_attn", "linear1"}


class Named2(nn.Module):
    """Names hold what has a meaning elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.by = nn.ModuleDict({name: nn.Linear(3, 3) for name in ODD})

    def forward(self, x: Tensor) -> Tensor:
        for part in self.by.values():
            x = part(x) + 1
        return x


ODD = ["user:id", "act#1", "x[0]", "a b", "star*"]


def test_names_may_hold_any_sign() -> None:
    net, x = Named2(), torch.rand(4, 3)
    assert list(only(net, "by.*", x)) == [f"by.{name}" for name in ODD]
    for name in ODD:
        assert list(only(net, f"by.{name}", x)) == [f"by.{name}"] == list(only(net, net.by[name], x))
        assert list(only(net, f"by.{name}:linear", x)) == [f"by.{name}:linear"]
        assert lens.ablate(net, f"by.{name}", [1], x)[0].moved > 0


class Form(nn.Module):
    """Changes the form of a tensor in its place, and puts infinities where attention must not look."""

    def forward(self, x: Tensor) -> Tensor:
        h = x * 1
        h.unsqueeze_(1)
        h = h.transpose_(1, 2).squeeze_()
        scores = (h[:, :, None] * h[:, None]).masked_fill(torch.ones(3, 3).triu(1).bool(), float("-inf"))
        return scores.softmax(-1).sum(1)


def test_operations_that_change_the_form_and_masks_do_not_disturb() -> None:
    net, x = Form(), torch.rand(4, 3)
    seen = only(net, ["", ":*"], x)
    torch.testing.assert_close(seen[""].values, net(x))
    assert ":softmax" in seen and ":masked_fill" not in seen
    with pytest.raises(ValueError, match="12 of 36 activations of ':masked_fill' are NaN or infinite"):
        only(net, ":masked_fill", x)


# -- bad input ---------------------------------------------------------------------------------------------------------


class Odd(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used, self.idle, self.table = nn.Linear(3, 2), nn.Linear(3, 2), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        self.table(x[:1].expand(2, 3, 3))
        return self.used(x).log()


REFUSED = {
    "usd": "no part 'usd'. Near it: 'used'",
    "idle": "'idle' gave no tensor.*the data does not reach it",
    "table": r"'table' gave \(2, 3, 3\) for 5 rows: it does not answer row by row",
    "nothing*": "no part 'nothing\\*'",
    "used#2": "'used#2' does not run 2 times",
    "used:rel": "No operation that ran is 'used:rel'. There ran: used:linear",
    ":logg": "There ran: .*:log",
    "used#x": "Write 'used#1'",
    (): "No layer was named",
}


@pytest.mark.parametrize("layers", REFUSED, ids=str)
def test_a_layer_that_cannot_be_seen_is_refused(layers: Any) -> None:
    with pytest.raises(ValueError, match=REFUSED[layers]):
        lens.capture(Odd(), layers, torch.rand(5, 3))


def test_a_glob_leaves_out_what_does_not_answer_by_row() -> None:
    net = Odd()
    nn.init.constant_(net.used.bias, 9.0)
    assert list(lens.capture(net, "*", torch.rand(5, 3))) == ["used"]


def test_a_module_of_another_net_is_refused() -> None:
    with pytest.raises(ValueError, match="This Linear is no part of the Odd"):
        lens.capture(Odd(), nn.Linear(3, 2), torch.rand(5, 3))


def test_nan_is_refused_with_the_first_layer_that_has_it() -> None:
    net = Odd()
    nn.init.constant_(net.used.bias, -9.0)  # the logarithm of what is negative
    with pytest.raises(ValueError, match="10 of 10 activations of ':log' are NaN or infinite"):
        lens.capture(net, ["used", ":log", ""], torch.rand(5, 3))
    assert only(net, [""], torch.rand(5, 3), finite=False)[""].values.isnan().all()


def test_what_has_no_gradient_is_refused() -> None:
    with pytest.raises(ValueError, match="No gradient comes from"):
        only(nn.Linear(3, 2), [""], torch.rand(5, 3), of=lambda output: output.argmax(1))


class Strange(nn.Module):
    """Its parts answer inside of a transform, and with a tensor that holds only what is not zero."""

    def __init__(self) -> None:
        super().__init__()
        self.each, self.slope, self.top = (nn.Linear(3, 3) for _ in range(3))
        self.sparse = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = torch.vmap(lambda row: self.each(row))(x) + torch.func.grad(lambda rows: self.slope(rows).sum())(x)
        return self.top(self.sparse(h.to_sparse()).to_dense())


def test_answers_that_are_no_plain_tensors_are_left_out_or_refused() -> None:
    net, x = Strange(), torch.rand(5, 3)
    assert list(lens.capture(net, "*", x)) == ["top"]
    for name in ("each", "slope", "sparse"):
        with pytest.raises(
            ValueError, match=rf"'{name}' gave no tensor.*nested or sparse tensors, or inside of torch.vmap"
        ):
            lens.capture(net, name, x)


class Hidden(nn.Module):
    """Its first layer runs where nothing is written down."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            h = self.first(x)
        return self.second(h)


def test_gradients_of_what_ran_without_are_refused_and_not_zero() -> None:
    assert list(only(Hidden(), "second", torch.rand(5, 3), of=lambda output: output[:, 0])) == ["second"]
    with pytest.raises(ValueError, match="No gradient comes to 'first': the module runs it under no_grad"):
        only(Hidden(), "*", torch.rand(5, 3), of=lambda output: output[:, 0])


@pytest.mark.parametrize(
    "make", [torch.jit.script, lambda net: torch.jit.trace(net, torch.rand(2, 3))], ids=["script", "trace"]
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_is_refused(make: Any) -> None:
    with pytest.raises(ValueError, match=r"compiled by TorchScript.*Give the module that it was made from"):
        lens.capture(make(nn.Sequential(nn.Linear(3, 2))), "*", torch.rand(5, 3))


@pytest.mark.parametrize("net", [nn.Linear(3, 2), nn.Embedding(9, 2)])
def test_whole_numbers_that_do_not_fit_are_told(net: nn.Module) -> None:
    with pytest.raises(ValueError, match=r"does not take whole numbers \(torch.uint8\).*rows.float\(\).*rows.long\(\)"):
        lens.capture(net, "", torch.ones(5, 3, dtype=torch.uint8))


def test_no_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="There are no rows"):
        lens.capture(nn.Linear(3, 2), [""], torch.rand(0, 3))
