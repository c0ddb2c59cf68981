"""The models, by library: how to build one, and what it is run on."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A model of a library.

    Attributes:
        library: the library's name on PyPI.
        name: the model's name there.
        build: builds it with random weights.
        shape: of the input that it is run on.
        values: makes the input of that shape.
    """

    library: str
    name: str
    build: Callable[[], nn.Module] = field(repr=False)
    shape: tuple[int, ...] = (2, 3, 64, 64)
    values: Callable[..., Tensor] = field(repr=False, default=torch.randn)


_TIMM = (
    "resnet18 resnet50 resnet50d resnext50_32x4d seresnet50 ecaresnet50t res2net50_26w_4s resnest14d skresnet18 "
    "resnetv2_50 resnetblur50 wide_resnet50_2 gcresnet33ts botnet26t_256 halonet26t lambda_resnet26t densenet121 "
    "dla34 dla60_res2net dla102x vgg11_bn mobilenetv2_100 mobilenetv3_large_100 mobilenetv4_conv_small "
    "efficientnet_b0 efficientnet_es tf_efficientnetv2_s mnasnet_100 fbnetc_100 spnasnet_100 ghostnet_100 "
    "ghostnetv2_100 mixnet_s lcnet_050 tinynet_e hardcorenas_a hrnet_w18_small regnetx_002 regnety_002 rexnet_100 "
    "cspresnet50 cspdarknet53 darknet53 xception41 inception_v4 inception_resnet_v2 dpn68 selecsls42 gernet_s "
    "repvgg_a0 mobileone_s0 fastvit_t8 hgnetv2_b0 repghostnet_050 efficientformer_l1 coatnet_nano_rw_224"
)
_TORCHVISION = (
    "resnet18 resnext50_32x4d wide_resnet50_2 densenet121 vgg11_bn googlenet mobilenet_v2 mobilenet_v3_small "
    "shufflenet_v2_x1_0 mnasnet0_5 efficientnet_b0 efficientnet_v2_s regnet_y_400mf inception_v3"
)
_SEGMENTATION = "fcn_resnet50 deeplabv3_resnet50 lraspp_mobilenet_v3_large"
_VIDEO = "r3d_18 mc3_18 r2plus1d_18 s3d"
_SMP = "Unet UnetPlusPlus MAnet Linknet FPN PSPNet PAN DeepLabV3 DeepLabV3Plus UPerNet"
_ULTRALYTICS = "yolov3-tiny yolov5n yolov6n yolov8n yolov8n-seg yolov8n-cls yolov9t yolov10n yolo11n yolo12n"
_PYTORCHCV = (
    "resnet18 preresnet18 seresnet18 resnext26_32x4d densenet121 mobilenet_w1 mobilenetv2_w1 shufflenet_g1_w1 "
    "shufflenetv2_wd2 menet108_8x1_g3 igcv3_w1 xception darts efficientnet_b0 hardnet39ds vovnet27s bagnet9 dla34"
)
_LARGER = {
    **dict.fromkeys(["inception_v4", "inception_resnet_v2", "xception41", "inception_v3", "googlenet"], 128),
    **dict.fromkeys(["botnet26t_256", "halonet26t", "lambda_resnet26t"], 256),
    **dict.fromkeys(["coatnet_nano_rw_224", "efficientformer_l1", "mobileone_s0"], 224),
}


def rows() -> Iterator[ModelRow]:
    """Yield every model of the list, library by library."""
    for name in _TIMM.split():
        yield ModelRow("timm", name, lambda n=name: _timm(n), _image(name))  # type: ignore[misc]
    for name in ("resnet18", "mobilenetv3_small_050", "hrnet_w18_small"):
        build = lambda n=name: _timm(n, features_only=True)  # noqa: E731  # one for each turn
        yield ModelRow("timm", f"{name}, features_only", build)
    for name in _TORCHVISION.split():
        yield ModelRow("torchvision", name, lambda n=name: _torchvision(n), _image(name))  # type: ignore[misc]
    for name in _SEGMENTATION.split():
        yield ModelRow("torchvision", name, lambda n=name: _torchvision(n, "segmentation"))  # type: ignore[misc]
    for name in _VIDEO.split():
        size = (1, 3, 14, 224, 224) if name == "s3d" else (1, 3, 4, 32, 32)
        yield ModelRow("torchvision", name, lambda n=name: _torchvision(n, "video"), size)  # type: ignore[misc]
    yield from _transformers()
    yield from _monai()
    for name in _SMP.split():
        yield ModelRow("segmentation-models-pytorch", name, lambda n=name: _smp(n), (2, 3, 128, 128))  # type: ignore[misc]
    for name in _ULTRALYTICS.split():
        yield ModelRow("ultralytics", name, lambda n=name: _ultralytics(n))  # type: ignore[misc]
    for name in _PYTORCHCV.split():
        side = 299 if name == "xception" else 224
        yield ModelRow("pytorchcv", name, lambda n=name: _pytorchcv(n), (2, 3, side, side))  # type: ignore[misc]


def _image(name: str) -> tuple[int, ...]:
    size = _LARGER.get(name, 64)
    return 2, 3, size, size


def _timm(name: str, **options: Any) -> nn.Module:
    made: nn.Module = importlib.import_module("timm").create_model(name, pretrained=False, **options)
    return made


def _torchvision(name: str, part: str = "") -> nn.Module:
    models = importlib.import_module("torchvision.models")
    options: dict[str, Any] = {"weights": None}
    if part == "segmentation":
        options["weights_backbone"] = None
    if name in ("googlenet", "inception_v3"):
        options |= {"aux_logits": False, "init_weights": False}
    made: nn.Module = getattr(getattr(models, part) if part else models, name)(**options)
    return made


def _transformers() -> Iterator[ModelRow]:
    def model(name: str, **options: Any) -> Callable[[], nn.Module]:
        def build() -> nn.Module:
            library = importlib.import_module("transformers")
            made: nn.Module = getattr(library, f"{name}Model")(getattr(library, f"{name}Config")(**options))
            return made

        return build

    small = {"depths": [1, 1, 1, 1]}
    images: dict[str, dict[str, Any]] = {
        "ResNet": small,
        "RegNet": small,
        "MobileNetV1": {},
        "MobileNetV2": {},
        "EfficientNet": {"width_coefficient": 1.0, "depth_coefficient": 1.0, "hidden_dim": 1280},
        "Levit": {},
        "PoolFormer": small,
        "TextNet": {},
        "MobileViT": {},
        "MobileViTV2": {},
        "Bit": small,
        "Cvt": {},
        "FocalNet": {},
    }
    for name, options in images.items():
        side = 224 if name in ("Levit", "Cvt", "FocalNet") else 64
        yield ModelRow("transformers", name, model(name, **options), (2, 3, side, side))
    yield ModelRow("transformers", "Wav2Vec2", model("Wav2Vec2", num_hidden_layers=2), (2, 4000))


def _monai() -> Iterator[ModelRow]:
    def net(name: str, *arguments: Any, **options: Any) -> Callable[[], nn.Module]:
        def build() -> nn.Module:
            made: nn.Module = getattr(importlib.import_module("monai.networks.nets"), name)(*arguments, **options)
            return made

        return build

    steps = {"channels": (8, 16, 32), "strides": (2, 2), "num_res_units": 2}
    plain = {"in_channels": 1, "out_channels": 2}
    for dims in (2, 3):
        shape = (2, 1, *[32] * dims)
        space = {"spatial_dims": dims, **plain}
        yield ModelRow("monai", f"UNet, {dims}-D", net("UNet", **space, **steps), shape)
        yield ModelRow("monai", f"UNet, batch norm, {dims}-D", net("UNet", **space, **steps, norm="BATCH"), shape)
        yield ModelRow(
            "monai", f"BasicUNet, {dims}-D", net("BasicUNet", **space, features=(8, 8, 16, 16, 32, 8)), shape
        )
        yield ModelRow("monai", f"SegResNet, {dims}-D", net("SegResNet", **space, init_filters=8), shape)
        yield ModelRow("monai", f"DenseNet121, {dims}-D", net("DenseNet121", **space), (2, 1, *[64] * dims))
    yield ModelRow("monai", "AttentionUnet, 2-D", net("AttentionUnet", 2, 1, 2, (8, 16, 32), (2, 2)), (2, 1, 32, 32))
    yield ModelRow("monai", "VNet, 3-D", net("VNet"), (1, 1, 32, 32, 32))
    yield ModelRow("monai", "HighResNet, 3-D", net("HighResNet"), (1, 1, 16, 16, 16))
    yield ModelRow("monai", "SEResNet50, 2-D", net("SEResNet50", spatial_dims=2, in_channels=3, num_classes=2))


def _smp(name: str) -> nn.Module:
    library = importlib.import_module("segmentation_models_pytorch")
    made: nn.Module = getattr(library, name)("resnet18", encoder_weights=None)
    return made


def _ultralytics(name: str) -> nn.Module:
    tasks = importlib.import_module("ultralytics.nn.tasks")
    kind = {"seg": "SegmentationModel", "cls": "ClassificationModel"}.get(name.rpartition("-")[2], "DetectionModel")
    made: nn.Module = getattr(tasks, kind)(f"{name}.yaml", verbose=False)
    return made


def _pytorchcv(name: str) -> nn.Module:
    made: nn.Module = importlib.import_module("pytorchcv.model_provider").get_model(name, pretrained=False)
    return made
