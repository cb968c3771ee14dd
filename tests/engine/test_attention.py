"""A model's attention kernel: used where it is asked for, refused where it cannot be."""

import threading
from typing import Any

import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor
from torch._dynamo.backends.common import aot_autograd
from torch.utils._python_dispatch import TorchDispatchMode

from lorajobs.catalog import Catalog
from lorajobs.engine.attention import KERNELS, _only, attend, undisturbed
from lorajobs.engine.pipeline import DiffusersEngine
from lorajobs.errors import BaseLoadFailed, EngineFailed
from lorajobs.settings import Settings
from tests.engine.tiny import FAMILIES
from tests.jobs import a_spec

CPU = torch.device("cpu")


class Kernels(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the attention kernels that run."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.ran: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        fused = (name for name in KERNELS if f"{name}_attention" in str(func))
        self.ran.update(fused)
        if "softmax" in str(func):
            self.ran.add("math")
        return func(*args, **kwargs or {})


def loaded(attention: str) -> DiffusersEngine:
    entry = Catalog.load(None).models["demo"].model_copy(update={"attention": attention})
    engine = DiffusersEngine(entry, Settings(device="cpu"))
    engine.load()
    return engine


def test_the_denoiser_of_a_job_uses_the_kernel_that_its_base_names(
    engine: DiffusersEngine,
) -> None:
    ran = {}
    spec = a_spec(width=64, height=64, num_inference_steps=2)
    engine.apply([])
    pictures = {"auto": engine.generate(spec, lambda _: None).pictures[0].image.tobytes()}
    for name in ("flash", "math"):
        chosen = loaded(name)
        unet, counter = chosen._pipe.unet, Kernels()
        forward = unet.forward

        def counted(*args: object, **kwargs: object) -> object:
            with counter:  # noqa: B023
                return forward(*args, **kwargs)  # noqa: B023

        unet.forward = counted
        pictures[name] = chosen.generate(spec, lambda _: None).pictures[0].image.tobytes()
        ran[name] = counter.ran
    assert ran == {"flash": {"flash"}, "math": {"math"}}
    # What torch chooses on a CPU.
    assert pictures["auto"] == pictures["flash"]


@pytest.mark.parametrize("family", FAMILIES)
def test_on_every_architecture(family: str) -> None:
    pipe = FAMILIES[family]()
    attend(pipe.components.get("unet") or pipe.transformer, CPU, "math")


@pytest.mark.parametrize("name", ["efficient", "cudnn"])
def test_a_kernel_that_the_device_does_not_have_is_refused_at_load(name: str) -> None:
    with pytest.raises(BaseLoadFailed) as refused:
        loaded(name)
    detail = refused.value.detail
    assert detail.startswith(f'models.demo: attention = "{name}": not on this device for heads of ')
    assert "torch.float32" in detail
    assert detail.endswith('leave it out or give "auto"')


def test_a_processor_that_would_not_notice_is_refused_at_load() -> None:
    unet = FAMILIES["sd15"]().unet
    forward = unet.forward
    unet.set_attn_processor(AttnProcessor())
    with pytest.raises(BaseLoadFailed, match=r"AttnProcessor of .* does without torch's kernels"):
        attend(unet, CPU, "flash")
    with pytest.raises(BaseLoadFailed, match="no attention is known in Linear"):
        attend(torch.nn.Linear(1, 1), CPU, "flash")
    assert unet.forward == forward


def test_what_only_a_job_shows_is_told_with_the_options_name() -> None:
    unet = FAMILIES["sd15"]().unet
    attend(unet, CPU, "flash")
    given = torch.zeros(1, 4, 8, 8), torch.tensor(1.0), torch.zeros(1, 5, 32)
    unet(*given)

    def unable(*_: object) -> None:
        raise RuntimeError("No available kernel. Aborting execution.")

    unet.conv_in.register_forward_pre_hook(unable)
    with pytest.raises(EngineFailed, match='attention = "flash" of the model cannot do this job'):
        unet(*given)


def allows_all() -> bool:
    return bool(torch.backends.cuda.math_sdp_enabled())  # type: ignore[no-untyped-call]


def test_another_models_attention_waits_until_the_choice_is_no_more() -> None:
    x = torch.zeros(1, 1, 4, 8)
    seen: list[bool] = []
    inside = threading.Event()

    def other() -> None:
        inside.wait(10)
        with undisturbed():
            # All kernels are allowed again.
            seen.append(allows_all())
            torch.nn.functional.scaled_dot_product_attention(x, x, x)

    thread = threading.Thread(target=other)
    thread.start()
    with _only("flash"):
        inside.set()
        thread.join(0.05)
        assert thread.is_alive()
        assert not allows_all()
    thread.join(10)
    assert seen == [True]


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method`:DeprecationWarning")
def test_the_choice_is_in_compiled_code() -> None:
    x = torch.randn(1, 2, 16, 8)
    traced: list[str] = []

    def compiler(module: torch.fx.GraphModule, _: object) -> object:
        traced.append(" ".join(str(node.target) for node in module.graph.nodes))
        return module.forward

    for name in ("flash", "math"):
        torch._dynamo.reset()
        backend = aot_autograd(fw_compiler=compiler)
        compiled = torch.compile(attention, backend=backend, fullgraph=True, dynamic=False)
        with _only(name), torch.inference_mode():
            compiled(x)
            # By which the caches of compiled code tell it from another kernel's.
            assert torch.compiler.config.cache_key_tag == f"attention={name}"
    assert torch.compiler.config.cache_key_tag == ""
    flash, math = traced
    assert "flash" in flash
    assert "softmax" not in flash
    assert "softmax" in math
    assert "flash" not in math


def attention(x: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.scaled_dot_product_attention(x, x, x)
