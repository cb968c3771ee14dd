"""Adapter files in the names of the models' own authors, which diffusers splits or renames."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from tests.engine import corpus_kinds as kinds
from tests.engine.corpus import File, Kind, Recipe, Spot, Targets
from tests.engine.corpus_kinds import Dice, Reference

#: The original's module and the weights of diffusers that it is made of, one under the other.
_SDXL = {
    "input_blocks_4_1_transformer_blocks_1_attn1_to_q": (
        "down_blocks.1.attentions.0.transformer_blocks.1.attn1.to_q",
    ),
    "input_blocks_4_1_proj_in": ("down_blocks.1.attentions.0.proj_in",),
    "middle_block_1_transformer_blocks_9_ff_net_2": (
        "mid_block.attentions.0.transformer_blocks.9.ff.net.2",
    ),
    "output_blocks_5_1_transformer_blocks_0_attn2_to_v": (
        "up_blocks.1.attentions.2.transformer_blocks.0.attn2.to_v",
    ),
}
_SDXL_CONVOLUTIONS = {
    "input_blocks_0_0": ("conv_in",),
    "input_blocks_4_0_skip_connection": ("down_blocks.1.resnets.0.conv_shortcut",),
    "input_blocks_1_0_emb_layers_1": ("down_blocks.0.resnets.0.time_emb_proj",),
    "middle_block_2_out_layers_3": ("mid_block.resnets.1.conv2",),
    "time_embed_0": ("time_embedding.linear_1",),
    "label_emb_0_2": ("add_embedding.linear_2",),
    "out_2": ("conv_out",),
    "input_blocks_1_0_in_layers_2": ("down_blocks.0.resnets.0.conv1",),
    "input_blocks_3_0_op": ("down_blocks.0.downsamplers.0.conv",),
    "output_blocks_2_2_conv": ("up_blocks.0.upsamplers.0.conv",),
}
#: What LyCORIS writes beside the attentions; diffusers' converter knows none of them.
_SD1 = {
    "input_blocks_0_0": ("conv_in",),
    "input_blocks_1_1_proj_in": ("down_blocks.0.attentions.0.proj_in",),
    "input_blocks_3_0_op": ("down_blocks.0.downsamplers.0.conv",),
    "input_blocks_4_0_skip_connection": ("down_blocks.1.resnets.0.conv_shortcut",),
    "input_blocks_8_1_transformer_blocks_0_attn2_to_k": (
        "down_blocks.2.attentions.1.transformer_blocks.0.attn2.to_k",
    ),
    "input_blocks_11_0_emb_layers_1": ("down_blocks.3.resnets.1.time_emb_proj",),
    "middle_block_0_in_layers_2": ("mid_block.resnets.0.conv1",),
    "middle_block_1_transformer_blocks_0_ff_net_0_proj": (
        "mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj",
    ),
    "output_blocks_2_1_conv": ("up_blocks.0.upsamplers.0.conv",),
    "output_blocks_5_2_conv": ("up_blocks.1.upsamplers.0.conv",),
    "output_blocks_8_0_out_layers_3": ("up_blocks.2.resnets.2.conv2",),
    "output_blocks_11_1_transformer_blocks_0_attn1_to_q": (
        "up_blocks.3.attentions.2.transformer_blocks.0.attn1.to_q",
    ),
    "time_embed_2": ("time_embedding.linear_2",),
    "out_2": ("conv_out",),
}
_FLUX = {
    "double_blocks.0.img_attn.qkv": tuple(f"transformer_blocks.0.attn.to_{x}" for x in "qkv"),
    "double_blocks.0.txt_attn.qkv": tuple(f"transformer_blocks.0.attn.add_{x}_proj" for x in "qkv"),
    "img_in": ("x_embedder",),
    "guidance_in.out_layer": ("time_text_embed.guidance_embedder.linear_2",),
    "final_layer.linear": ("proj_out",),
    "double_blocks.0.img_attn.proj": ("transformer_blocks.0.attn.to_out.0",),
    "double_blocks.0.txt_mlp.0": ("transformer_blocks.0.ff_context.net.0.proj",),
    "single_blocks.0.modulation.lin": ("single_transformer_blocks.0.norm.linear",),
}
#: Their rows are not of one size, and the converter knows only those of the real width.
_FLUX_WIDE = {
    "single_blocks.0.linear1": (
        *(f"single_transformer_blocks.0.attn.to_{x}" for x in "qkv"),
        "single_transformer_blocks.0.proj_mlp",
    ),
}
_XLABS = {
    "double_blocks.0.processor.qkv_lora1": tuple(
        f"transformer_blocks.0.attn.to_{x}" for x in "qkv"
    ),
    "double_blocks.0.processor.qkv_lora2": tuple(
        f"transformer_blocks.0.attn.add_{x}_proj" for x in "qkv"
    ),
    "double_blocks.0.processor.proj_lora1": ("transformer_blocks.0.attn.to_out.0",),
    "double_blocks.0.processor.proj_lora2": ("transformer_blocks.0.attn.to_add_out",),
    "single_blocks.0.processor.qkv_lora": tuple(
        f"single_transformer_blocks.0.attn.to_{x}" for x in "qkv"
    ),
    "single_blocks.0.processor.proj_lora": ("single_transformer_blocks.0.proj_out",),
}
_SD3 = {
    "joint_blocks.0.x_block.attn.qkv": tuple(f"transformer_blocks.0.attn.to_{x}" for x in "qkv"),
    "joint_blocks.0.context_block.attn.qkv": tuple(
        f"transformer_blocks.0.attn.add_{x}_proj" for x in "qkv"
    ),
    "joint_blocks.1.x_block.attn.proj": ("transformer_blocks.1.attn.to_out.0",),
    "joint_blocks.1.context_block.mlp.fc1": ("transformer_blocks.1.ff_context.net.0.proj",),
    "joint_blocks.1.x_block.adaLN_modulation.1": ("transformer_blocks.1.norm1.linear",),
    "joint_blocks.1.context_block.adaLN_modulation.1": (
        "transformer_blocks.1.norm1_context.linear",
    ),
}
_SD35 = {
    "joint_blocks.0.x_block.attn2.qkv": tuple(f"transformer_blocks.0.attn2.to_{x}" for x in "qkv"),
    "joint_blocks.0.x_block.attn2.proj": ("transformer_blocks.0.attn2.to_out.0",),
}
#: Those whose two halves diffusers keeps in the other order.
_SWAPPED = {
    "joint_blocks.23.context_block.adaLN_modulation.1": (
        "transformer_blocks.23.norm1_context.linear",
    ),
    "final_layer.adaLN_modulation.1": ("norm_out.linear",),
}


def files(family: str, targets: Targets) -> Iterator[Recipe]:
    """The files of one family."""
    if family == "sdxl":
        yield _file("sgm", family, _SDXL | _SDXL_CONVOLUTIONS, targets, kinds.kohya)
        yield _file("sgm loha", family, _SDXL, targets, kinds.loha)
        yield _file("sgm dora", family, _SDXL, targets, kinds.dora_of_kohya)
        yield _file("sgm in comfy", family, _dotted(_SDXL), targets, kinds.peft, "diffusion_model.")
    if family in ("sd15", "sd2"):
        yield _file("ldm", family, _SD1, targets, kinds.kohya)
        yield _file("ldm loha", family, _SD1, targets, kinds.loha)
        yield _file("ldm lokr", family, _SD1, targets, kinds.lokr)
    if family == "flux":
        if targets["transformer"]["x_embedder"][0] == 3072:
            yield _file("linear1", family, _flat(_FLUX_WIDE), targets, kinds.kohya)
        yield _file("flux of kohya", family, _flat(_FLUX), targets, kinds.kohya)
        yield _file("flux of bfl", family, _FLUX, targets, kinds.peft, "diffusion_model.")
        yield _file("flux of bfl, bare", family, _FLUX, targets, kinds.peft, "")
        yield _file("flux lokr", family, _flat(_FLUX), targets, kinds.lokr)
        yield _file("flux dora", family, _flat(_FLUX), targets, kinds.dora_of_kohya)
        whole = {name: paths for name, paths in _flat(_FLUX).items() if len(paths) == 1}
        yield _file("flux dora of columns", family, whole, targets, kinds.dora_of_columns)
        swap = {"final_layer_adaLN_modulation_1": ("norm_out.linear",)}
        yield _file("flux swapped", family, swap, targets, kinds.loha, swapped=True)
        yield _file("xlabs", family, _XLABS, targets, _xlabs, "")
    if family in ("sd3", "sd35"):
        names = _SD3 | (_SD35 if family == "sd35" else {})
        yield _file("sd3 of kohya", family, _flat(names), targets, kinds.kohya)
        yield _file("sd3 in comfy", family, names, targets, kinds.peft, "diffusion_model.")
        yield _file("sd3 lokr", family, _flat(names), targets, kinds.lokr)
        yield _file("sd3 swapped", family, _flat(_SWAPPED), targets, kinds.kohya, swapped=True)


def _file(
    name: str,
    family: str,
    names: Mapping[str, tuple[str, ...]],
    targets: Targets,
    kind: Kind,
    prefix: str = "lora_unet_",
    *,
    swapped: bool = False,
) -> Recipe:
    component = "unet" if "unet" in targets else "transformer"
    known = {name: paths for name, paths in names.items() if {*paths} <= targets[component].keys()}

    def make() -> File:
        tensors: dict[str, Tensor] = {}
        expected: dict[Spot, Reference] = {}
        for seed, (original, paths) in enumerate(known.items()):
            shapes = [targets[component][path] for path in paths]
            rows = [shape[0] for shape in shapes]
            change = kind((sum(rows), *shapes[0][1:]), Dice(seed))
            tensors.update({f"{prefix}{original}.{e}": t for e, t in change.tensors.items()})
            for index, path in enumerate(paths):
                begin = sum(rows[:index])
                expected[component, path] = _part(change.reference, rows, begin, swapped=swapped)
        return File(tensors, expected)

    return Recipe(f"{family}: {name}", family, make)


def _part(reference: Reference, rows: list[int], begin: int, *, swapped: bool) -> Reference:
    def change(weight: Tensor) -> Tensor:
        if swapped:
            one, two = weight.chunk(2)
            one, two = reference(torch.cat([two, one])).chunk(2)
            return torch.cat([two, one])
        # What stands above and below does not matter to these rows.
        above = torch.ones(begin, *weight.shape[1:], dtype=weight.dtype)
        below = torch.ones(sum(rows) - begin - len(weight), *weight.shape[1:], dtype=weight.dtype)
        return reference(torch.cat([above, weight, below]))[begin : begin + len(weight)]

    return change


def _xlabs(shape: tuple[int, ...], dice: Dice) -> kinds.Change:
    change = kinds.kohya(shape, dice, alpha=2.0)
    down, up = change.tensors["lora_down.weight"], change.tensors["lora_up.weight"]
    return kinds.Change({"down.weight": down, "up.weight": up}, change.reference)


def _flat(names: Mapping[str, tuple[str, ...]]) -> Mapping[str, tuple[str, ...]]:
    return {name.replace(".", "_"): paths for name, paths in names.items()}


def _dotted(names: Mapping[str, tuple[str, ...]]) -> Mapping[str, tuple[str, ...]]:
    """As the original spells the paths that Kohya flattens."""
    dots = str.maketrans({"_": "."})
    words = (
        *("input_blocks", "middle_block", "output_blocks", "transformer_blocks"),
        *("to_q", "to_v", "proj_in"),
    )
    found = {}
    for name, paths in names.items():
        spelled = name.translate(dots)
        for word in words:
            spelled = spelled.replace(word.replace("_", "."), word)
        found[spelled] = paths
    return found
