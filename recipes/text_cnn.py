"""The convolutional network for texts of Kim 2014, "Convolutional neural networks for sentence classification".

An example of a network of your own: a recipe names it with ``model: {source: python, builder: text_cnn.py:kim2014}``.
Copy the file, and change it.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class TextCNN(nn.Module):
    """An embedding, parallel convolutions of several widths, the maximum over time, dropout, and a linear classifier.

    The embedding is learned (the paper's CNN-rand). The paper's limit on the norm of the classifier's weights is left
    out; use weight decay.

    Args:
        num_tokens: Number of different tokens; 0 is padding, whose embedding stays zero.
        num_classes: Number of classes.
        channels: Channels of the embedding.
        maps: Channels of each convolution.
        widths: Kernel sizes of the convolutions, in tokens.
        dropout: Probability of dropout before the classifier.
    """

    def __init__(
        self,
        num_tokens: int,
        num_classes: int = 2,
        channels: int = 300,
        maps: int = 100,
        widths: Sequence[int] = (3, 4, 5),
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_tokens, channels, padding_idx=0)
        # Padding on both sides, so that a text may be shorter than a kernel.
        self.convolutions = nn.ModuleList(nn.Conv1d(channels, maps, width, padding=width - 1) for width in widths)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(maps * len(widths), num_classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits ``(batch, num_classes)`` for the numbers of tokens ``(batch, length)``, int64."""
        embedded = self.embedding(tokens).transpose(1, 2)
        features = [convolution(embedded).relu().amax(-1) for convolution in self.convolutions]
        logits: Tensor = self.head(self.dropout(torch.cat(features, 1)))
        return logits


def kim2014(num_tokens: int) -> TextCNN:
    """Return the network with the sizes of the paper; dsft passes the number of different tokens."""
    return TextCNN(num_tokens)
