"""Converted networks of transformers that its own ``save_pretrained`` and ``from_pretrained`` save and load.

Importing the module registers them with transformers' ``Auto`` classes. It needs the extra ``transformers``.
"""

from __future__ import annotations

from typing import Any, Self, cast

from dsft.conversion import ConversionPlan, replay_plan, unwrap_network
from dsft.errors import ModelError
from dsft.runtimes.packages import require_packages
from dsft.separable import FactoredConv

require_packages("dsft.transformers", "transformers", ["transformers"], oldest={"transformers": (5, 0)})

import transformers  # noqa: E402 (after the check, which says how to install it)
from torch import nn  # noqa: E402


class ConvertedConfig(transformers.PretrainedConfig):  # type: ignore[misc]
    """The configuration of a converted network: that of the original, and the plan.

    Args:
        network: The original's configuration as a dict, with the name of its class in ``architectures``.
        plan: :meth:`ConversionPlan.to_dict` of the conversion.
        arguments: Of every configuration; ``id2label`` and ``num_labels`` are those of the original.
    """

    model_type = "dsft"

    def __init__(
        self, network: dict[str, Any] | None = None, plan: dict[str, Any] | None = None, **arguments: Any
    ) -> None:
        self.network, self.plan = network or {}, plan or {}
        super().__init__(**arguments)


class ConvertedModel(transformers.PreTrainedModel):  # type: ignore[misc]
    """A converted network that transformers' ``Trainer``, ``pipeline`` and files know.

    ``ConvertedModel.wrap(conversion.model, conversion.plan)`` makes one; ``save_pretrained`` writes it, and
    ``ConvertedModel.from_pretrained`` or ``AutoModelForImageClassification.from_pretrained`` loads it, after
    ``import dsft.transformers``.

    Args:
        config: The configuration.
        network: The converted network; None builds one with random weights.

    Raises:
        ModelError: The installed transformers has no class of that name.
        ConversionError: The plan was made for another network.
    """

    config_class = ConvertedConfig
    base_model_prefix = "network"
    main_input_name = "pixel_values"
    supports_gradient_checkpointing = False

    def __init__(self, config: ConvertedConfig, network: nn.Module | None = None) -> None:
        super().__init__(config)
        self.network = _build(config) if network is None else network
        self.post_init()

    @classmethod
    def wrap(cls, network: nn.Module, plan: ConversionPlan) -> Self:
        """Wrap a converted network, which is not copied.

        Args:
            network: What ``dsft.convert`` made of a network of transformers.
            plan: The plan of its conversion.

        Raises:
            ModelError: Its class is none of transformers.
        """
        network = unwrap_network(network)
        name = type(network).__name__
        if getattr(transformers, name, None) is not type(network):
            raise ModelError(
                f"model: expected a network of a class of transformers, found {type(network).__module__}.{name}. Save "
                "it with dsft.save."
            )
        original: Any = network.config
        described = {**original.to_dict(), "architectures": [name]}
        labels = {key: value for key in ("id2label", "label2id") if (value := getattr(original, key, None))}
        return cls(ConvertedConfig(described, plan.to_dict(), **labels), network)

    @classmethod
    def from_pretrained(cls, *arguments: Any, **options: Any) -> Any:
        """Load a folder, or a repository of the hub; see transformers' method of this name."""
        loaded = super().from_pretrained(*arguments, **options)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        for layer in model.modules():
            if isinstance(layer, FactoredConv):
                # transformers builds networks on the meta device, and loads what is in the state dict.
                layer.reset_indices()
        return loaded

    def forward(self, pixel_values: Any = None, labels: Any = None, **arguments: Any) -> Any:
        """Run the network; the arguments are those of the original."""
        given = {"pixel_values": pixel_values, "labels": labels, **arguments}
        return self.network(**{name: value for name, value in given.items() if value is not None})


def _build(config: ConvertedConfig) -> nn.Module:
    described = dict(config.network)
    (name,) = described.get("architectures") or ("",)
    kind: Any = getattr(transformers, name, None)
    # A file names no other code than the networks of transformers.
    if not _is_network(kind):
        written = f"{config.transformers_version or 'another version'}"
        raise ModelError(
            f"model: the installed transformers ({transformers.__version__}) has no class {name!r}. Install the one "
            f"that wrote it ({written}): pip install transformers=={written}."
        )
    network = kind(kind.config_class.from_dict(described))
    return replay_plan(cast("nn.Module", network), ConversionPlan.from_dict(config.plan))


def _is_network(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel)


transformers.AutoConfig.register("dsft", ConvertedConfig)
for _auto in (
    "AutoModel",
    "AutoModelForImageClassification",
    "AutoModelForSemanticSegmentation",
    "AutoModelForObjectDetection",
):
    getattr(transformers, _auto).register(ConvertedConfig, ConvertedModel)
