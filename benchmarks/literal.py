"""The authors' layer from its formulas, at full resolution, with their names for the weights."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Tables(nn.Module):
    def __init__(self, width: int, length: int = 256) -> None:
        super().__init__()
        self.row_embed = nn.Embedding(length, width // 2)
        self.col_embed = nn.Embedding(length, width // 2)

    def forward(self, tokens: Tensor) -> Tensor:
        rows, columns = tokens.shape[2:]
        across = self.col_embed.weight[:columns].t()[None, :, None, :].expand(1, -1, rows, -1)
        down = self.row_embed.weight[:rows].t()[None, :, :, None].expand(1, -1, -1, columns)
        return torch.cat((across, down), dim=1)


class LiteralPool(nn.Module):
    """Tokens ``nlp``, ``nlpnoexp``, ``nlpnosigmoid``, ``nlpnope``, ``nlpnobn1`` and ``nlpnobn2``."""

    def __init__(
        self, token: str, channels: int, width: int, stride: int, patch: int, heads: int, window_norm: bool
    ) -> None:
        super().__init__()
        self.token, self.stride, self.window_norm = token, stride, window_norm
        steps: list[nn.Module] = [nn.Conv2d(channels, width, patch, patch)]
        self.downsample = nn.Sequential(*steps, *([] if token == "nlpnobn1" else [nn.BatchNorm2d(width)]), nn.ReLU())
        if token != "nlpnope":
            self.pos_embed = Tables(width)
        self.multihead_attn = nn.MultiheadAttention(width, heads, batch_first=True)
        last = [] if token == "nlpnobn2" else [nn.BatchNorm2d(channels)]
        self.restore = nn.Sequential(nn.Conv2d(width, channels, 1), *last)

    def weight(self, x: Tensor) -> Tensor:
        tokens = self.downsample(x)
        if self.token != "nlpnope":
            tokens = tokens + self.pos_embed(tokens)
        count, width, rows, columns = tokens.shape
        sequence = tokens.flatten(2).transpose(1, 2)
        attended = self.multihead_attn(sequence, sequence, sequence)[0].transpose(1, 2)
        full = F.interpolate(attended.reshape(count, width, rows, columns), size=x.shape[2:], mode="nearest")
        logit = self.restore(full)
        if self.token == "nlpnosigmoid":
            return torch.exp(logit)
        return torch.sigmoid(logit) if self.token == "nlpnoexp" else torch.exp(torch.sigmoid(logit))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight(x)
        pooled = F.avg_pool2d(x * weight, self.stride)
        return pooled / F.avg_pool2d(weight, self.stride) if self.window_norm else pooled
