"""Small networks of the kinds that people explain, in plain torch: what a new rule or method must get right."""

from __future__ import annotations

import threading

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm
from torch.utils.checkpoint import checkpoint


class Residual(nn.Module):
    """h + relu(W h), where rules by layer go wrong unless a residual is declared."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.out = nn.Linear(6, 8), nn.Linear(8, 8, bias=False), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x).relu()
        return self.out(h + F.relu(self.second(h)))


class Block(nn.Module):
    """Of a ResNet: one rectifier, used twice and in place."""

    def __init__(self, inputs: int, units: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, units, 3, stride, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(units), nn.BatchNorm2d(units)
        self.conv2 = nn.Conv2d(units, units, 3, 1, 1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.down = nn.Conv2d(inputs, units, 1, stride) if inputs != units or stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += self.down(x)
        return self.relu(out)


def resnet() -> nn.Module:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, 1, 1), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1),
        Block(4, 4, 1), Block(4, 6, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3),
    )  # fmt: skip
    lived_in(net, torch.randn(64, 3, 12, 12))
    return net


class ViT(nn.Module):
    """Patches, a class token, positions, torch's own encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.token, self.positions = nn.Parameter(torch.randn(1, 1, 8)), nn.Parameter(torch.randn(1, 10, 8))
        layer = nn.TransformerEncoderLayer(8, 2, 16, activation="gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(8), enable_nested_tensor=False)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.patches(x).flatten(2).transpose(1, 2)
        h = torch.cat([self.token.expand(len(h), -1, -1), h], 1) + self.positions
        return self.head(self.encoder(h)[:, 0])


class Attention(nn.Module):
    """Causal, as in GPT-2: one product for query, key and value."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (each.view(len(x), -1, 2, 4).transpose(1, 2) for each in self.qkv(x).chunk(3, -1))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(y.transpose(1, 2).reshape(x.shape))


class ByHand(nn.Module):
    """The same, written out: scores, mask, softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(8, 8) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        scores = self.q(x) @ self.k(x).transpose(-2, -1) / 8**0.5
        mask = torch.ones(x.shape[1], x.shape[1]).triu(1).bool()
        return scores.masked_fill(mask, float("-inf")).softmax(-1) @ self.v(x)


class GPT(nn.Module):
    """Embedded tokens, or tokens, to the logits of the next at every step."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.positions = nn.Embedding(9, 8), nn.Parameter(torch.randn(5, 8) / 3)
        self.attentions = nn.ModuleList([Attention(), ByHand()])
        self.norms = nn.ModuleList(nn.LayerNorm(8) for _ in range(5))
        self.mlps = nn.ModuleList(nn.Sequential(nn.Linear(8, 16), nn.GELU("tanh"), nn.Linear(16, 8)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        h = (x if x.is_floating_point() else self.embed(x)) + self.positions
        for number, (attention, mlp) in enumerate(zip(self.attentions, self.mlps)):
            h = h + attention(self.norms[2 * number](h))
            h = h + mlp(self.norms[2 * number + 1](h))
        return self.norms[4](h) @ self.embed.weight.T


class Llama(nn.Module):
    """Root-mean-square norms, a gated multi-layer perceptron, steps first."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.attention = nn.RMSNorm(8), nn.MultiheadAttention(8, 2)
        self.gate, self.up, self.down, self.head = nn.Linear(8, 16), nn.Linear(8, 16), nn.Linear(16, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = x.transpose(0, 1)
        n = self.norm(h)
        h = h + self.attention(n, n, n)[0]
        n = h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + 1e-5)
        h = h + self.down(F.silu(self.gate(n)) * self.up(n))
        return self.head(h).mean(0)


class Views(nn.Module):
    """Writes into views, takes apart and puts together, the larger of two, a clamp, a norm by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        h[:, :2] *= 2
        h[:, 2:4] = h[:, 4:6].clamp(-1, 1)
        a, b = h.split(4, 1)
        both = torch.stack([torch.maximum(a, b), torch.minimum(a, b)], 1).flatten(1)
        both = (both - both.mean(1, keepdim=True)) / (both.std(1, keepdim=True) + 1e-5)
        return self.second(torch.where(torch.arange(8) % 2 == 0, both, F.normalize(both, dim=1)))


class Excite(nn.Module):
    """Squeeze and excitation, grouped and transposed convolutions, group and instance norms, other activations."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3, groups=1), nn.ConvTranspose2d(4, 4, 2, 2, groups=2)
        self.norm, self.each = nn.GroupNorm(2, 4), nn.InstanceNorm2d(4, affine=True)
        self.squeeze, self.excite, self.act = nn.Conv2d(4, 2, 1), nn.Conv2d(2, 4, 1), nn.PReLU(4)

    def forward(self, x: Tensor) -> Tensor:
        h = F.hardswish(self.norm(self.a(x)))
        h = h * torch.sigmoid(self.excite(F.silu(self.squeeze(h.mean((2, 3), keepdim=True)))))
        h = self.act(self.each(F.elu(self.b(h))))
        h = F.interpolate(F.pad(h, (1, 1, 0, 0), value=0.5), scale_factor=0.5, mode="bilinear")
        return F.adaptive_max_pool2d(h, 1).flatten(1) * 3 - F.softplus(h.amax((2, 3)))


class Pooled(nn.Module):
    """Steps are weighed by their product with a vector; a quotient and a sum are spread over an axis."""

    def __init__(self) -> None:
        super().__init__()
        self.keys, self.out = nn.Linear(8, 8), nn.Linear(8, 3)
        self.query, self.scale = nn.Parameter(torch.randn(8)), nn.Parameter(torch.rand(8) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        shares = (self.keys(x).tanh() @ self.query).softmax(1)
        pooled = (shares[..., None] * x).sum(1)
        return self.out(pooled + pooled[:, :1] / self.scale)


class Made(nn.Module):
    """Weights that are made of parameters: masked, copied and written into, normed; and a part that is checkpointed."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 8) / 2)
        self.second, self.third = weight_norm(nn.Linear(8, 8)), spectral_norm(nn.Linear(8, 8))
        self.out = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        mask, weight = self.weight.new_zeros(6, 8), self.weight.clone()
        mask[:4] = 1
        weight[0, :2] = 0.5
        h = checkpoint(nn.Sequential(nn.ReLU(), self.second, nn.Tanh()), x @ (mask * weight), use_reentrant=True)
        return self.out(self.third(h).relu())


class Keeps(nn.Module):
    """Keeps its last states, which it looks at again; cannot be copied; takes rows one by one."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.out = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.last: Tensor | None = None
        self.lock = threading.Lock()

    def forward(self, x: Tensor) -> Tensor:
        with self.lock:
            self.last = self.first(x) + (0 if self.last is None else 0 * self.last.sum())
            return self.out(torch.vmap(lambda row: self.second(row).tanh())(self.last))


class Recurrent(nn.Module):
    """LSTM and GRU."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.gru, self.out = nn.LSTM(8, 6, batch_first=True), nn.GRU(6, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.gru(self.lstm(x)[0])[0][:, -1])


def cnn(last: nn.Module | None = None) -> nn.Sequential:
    layers = [
        nn.Conv2d(1, 4, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
    ]
    return nn.Sequential(*layers, nn.Linear(6 * 4, 16), nn.ReLU(), nn.Linear(16, 3), *([last] if last else []))


@torch.no_grad()
def lived_in(net: nn.Module, rows: Tensor) -> None:
    """Gives batch norms statistics of their own, and weights and biases that are not ones and zeros."""
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.weight.uniform_(-0.5, 1.5)
            part.bias.normal_(0, 0.3)
            part.momentum = 1.0
    net.train()(rows)
    net.eval()


NETWORKS = {  # how to make it, and the shape of a row
    "linear": (lambda: nn.Linear(6, 3), (6,)),
    "perceptron": (
        lambda: nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8), nn.Sigmoid(), nn.Linear(8, 3)),
        (6,),
    ),
    "probabilities": (lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3), nn.Softmax(1)), (6,)),
    "cnn": (cnn, (1, 14, 14)),
    "log softmax": (lambda: cnn(nn.LogSoftmax(1)), (1, 14, 14)),
    "residual": (Residual, (6,)),
    "resnet": (resnet, (3, 12, 12)),
    "vision transformer": (ViT, (3, 12, 12)),
    "gpt": (GPT, (5, 8)),
    "llama": (Llama, (5, 8)),
    "views": (Views, (6,)),
    "excite": (Excite, (3, 8, 8)),
    "recurrent": (Recurrent, (5, 8)),
    "pooled": (Pooled, (5, 8)),
    "made": (Made, (6,)),
    "keeps": (Keeps, (6,)),
}


def network(name: str) -> tuple[nn.Module, Tensor, int | tuple[int, int]]:
    """The network in evaluation mode, four rows, and a target."""
    make, shape = NETWORKS[name]
    return make().eval(), torch.randn(4, *shape), (-1, 2) if name == "gpt" else 1
