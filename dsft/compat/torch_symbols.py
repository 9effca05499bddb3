"""The symbols of sizes that depend on values, such as the number of boxes that are left."""

from __future__ import annotations

from torch.export import ExportedProgram


def forget_pending_symbols(program: ExportedProgram) -> None:
    """Let a program be exported once more.

    torch's ONNX exporter leaves symbols in the program's environment that the next export takes for an error of its own
    (``PendingUnbackedSymbolNotFound``, seen with torch 2.14). Where torch has no such list, nothing is done.
    """
    for node in program.graph.nodes:
        mode = getattr(node.meta.get("val"), "fake_mode", None)
        pending = getattr(getattr(mode, "shape_env", None), "pending_fresh_unbacked_symbols", None)
        if pending:
            pending.clear()
