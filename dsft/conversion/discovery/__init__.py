"""Which convolutions a network has, and whether each can be replaced."""
