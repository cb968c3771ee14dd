"""Whether CUDA graphs and compiled code outlive changes of the adapters."""

from collections.abc import Sequence

import torch

from bench.swap_bed import Bed
from lorajobs.engine.base import LocalAdapter

SWAPS = 20


def graphs(bed: Bed, sets: Sequence[Sequence[LocalAdapter]]) -> dict[str, float]:
    """Steps and wrong outputs under one capture, and recompilations, over 20 swaps."""
    bed.rack.activate([])
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            bed.step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.inference_mode(), torch.cuda.graph(graph):
        made = bed.step()
    figures = {"graph_step_bare_ms": bed.clock.ms(graph.replay)}
    wrong = 0
    for number in range(SWAPS):
        bed.rack.activate(sets[number % len(sets)])
        graph.replay()
        wrong += not torch.equal(made, bed.step())
    bed.rack.activate(sets[0])
    figures["graph_step_ms_r16"] = bed.clock.ms(graph.replay)
    figures["graph_wrong"] = float(wrong)
    del graph
    figures["recompiled"] = _recompiled(bed, sets)
    return figures


def _recompiled(bed: Bed, sets: Sequence[Sequence[LocalAdapter]]) -> float:
    """How many of 20 swaps made `torch.compile` of the repeated blocks compile again."""
    bed.rack.activate([])
    bed.pipe.unet.compile_repeated_blocks(fullgraph=True)
    bed.step()
    torch._dynamo.config.error_on_recompile = True
    again = 0
    for number in range(SWAPS):
        bed.rack.activate(sets[number % len(sets)])
        try:
            bed.step()
        except torch._dynamo.exc.RecompileError:
            again += 1
    bed.rack.activate([])
    return float(again)
