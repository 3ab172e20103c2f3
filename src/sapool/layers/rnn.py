"""RNNPool: Saha, Kusupati, Simhadri, Varma, Jain, NeurIPS 2020 (arXiv 2002.11921).

Letters in shapes: N batch, C channels, Hp Wp padded map, Ho Wo output, kh kw window, h1 h2 hidden sizes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sapool.layers.window import Pair, WindowPool2d


class FastGRNNCell2d(nn.Module):
    """A FastGRNN cell (Kusupati et al., NeurIPS 2018) that runs at every place of a map at once.

    With ``a = W x + U h``, one W and one U for both: ``z = sigmoid(a + b_z)``, ``c = tanh(a + b_c)``,
    ``h' = (sigmoid(zeta) (1 - z) + sigmoid(nu)) c + z h``. The first state is 0.

    Args:
        in_channels: channels of the map that a step reads.
        hidden_size: channels of the state.
    """

    def __init__(self, in_channels: int, hidden_size: int) -> None:
        super().__init__()
        # Without bias: W of the padding's zeros is then 0, so a map can be padded after it has been read.
        self.read = nn.Conv2d(in_channels, hidden_size, 1, bias=False)
        self.recur = nn.Conv2d(hidden_size, hidden_size, 1, bias=False)
        self.gate_bias = nn.Parameter(torch.ones(hidden_size, 1, 1))
        self.update_bias = nn.Parameter(torch.ones(hidden_size, 1, 1))
        self.zeta = nn.Parameter(torch.tensor(1.0))
        self.nu = nn.Parameter(torch.tensor(-4.0))
        for weight in (self.read.weight, self.recur.weight):
            nn.init.normal_(weight, std=0.1)

    def _step(self, read: Tensor, state: Tensor | None) -> Tensor:
        a = read if state is None else read + self.recur(state)
        gate, update = torch.sigmoid(a + self.gate_bias), torch.tanh(a + self.update_bias)
        new = (torch.sigmoid(self.zeta) * (1 - gate) + torch.sigmoid(self.nu)) * update
        return new if state is None else new + gate * state

    def forward(self, reads: Sequence[Tensor]) -> Tensor:
        """Run over ``reads``, each W x of one step (N, h, H, W); returns the last state (N, h, H, W)."""
        state = self._step(reads[0], None)
        for read in reads[1:]:
            state = self._step(read, state)
        return state


class RNNPool2d(WindowPool2d):
    """Summarise every window by two small recurrent networks.

    rnn1 sweeps each row of the window left to right and each column top to bottom, and leaves one summary a row and
    one a column. rnn2 sweeps the row summaries down and up and the column summaries right and left, with the same
    weights. Its four last states, 4 h2 values, are the output; a 1x1 convolution maps them to C where 4 h2 is not C.

    Args:
        in_channels: C.
        kernel_size: pooling window, in pixels.
        stride: step of the window, in pixels; default ``kernel_size``.
        padding: zeros around the map, in pixels; they are swept like any pixel.
        ceil_mode: whether a last window that reaches over the edge counts; what is outside is zeros.
        hidden_size: h1, state of rnn1; default: ``summary_size``.
        summary_size: h2, state of rnn2; default: max(1, C // 4).

    Raises:
        ValueError: a value out of its range.
    """

    def __init__(
        self,
        in_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
        ceil_mode: bool = False,
        *,
        hidden_size: int | None = None,
        summary_size: int | None = None,
    ) -> None:
        super().__init__(in_channels, kernel_size, stride, padding, ceil_mode)
        summary = max(1, in_channels // 4) if summary_size is None else summary_size
        hidden = summary if hidden_size is None else hidden_size
        self.check_at_least_one(hidden_size=hidden, summary_size=summary)
        self.rnn1 = FastGRNNCell2d(in_channels, hidden)
        self.rnn2 = FastGRNNCell2d(hidden, summary)
        self.restore = None if 4 * summary == in_channels else nn.Conv2d(4 * summary, in_channels, 1)

    def _steps(self, x: Tensor, axis: int) -> list[Tensor]:
        """Cut ``x`` along ``axis`` (2 rows, 3 columns) into the first, second, ... line of every window."""
        kernel, stride = self.window.kernel_size[axis - 2], self.window.stride[axis - 2]
        end = x.shape[axis] - kernel + 1
        whole = slice(None)
        lines = (slice(i, i + end, stride) for i in range(kernel))
        return [x[:, :, line, :] if axis == 2 else x[:, :, whole, line] for line in lines]

    def forward(self, x: Tensor) -> Tensor:
        """Pool ``x`` (N, C, H, W) to (N, C, Ho, Wo), as large as ``nn.MaxPool2d`` makes it.

        Raises:
            ValueError: another number of channels, or a map smaller than the window.
        """
        self.check_map(x)
        # A row's summary does not depend on which windows the row is in: windows that share it share the sweep.
        read = self.window.pad(self.rnn1.read(x))
        rows = self.rnn2.read(self.rnn1(self._steps(read, 3)))  # (N, h2, Hp, Wo)
        columns = self.rnn2.read(self.rnn1(self._steps(read, 2)))  # (N, h2, Ho, Wp)
        down, right = self._steps(rows, 2), self._steps(columns, 3)
        y = torch.cat([self.rnn2(steps) for steps in (down, down[::-1], right, right[::-1])], dim=1)
        return y if self.restore is None else self.restore(y)
