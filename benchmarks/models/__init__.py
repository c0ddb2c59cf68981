"""Layers in other people's models: which pairs `swap` finds, whether values stay, and whether the model still trains.

`python -m benchmarks.models -o models.json` builds models of timm, torchvision, transformers, MONAI,
segmentation-models-pytorch, ultralytics and pytorchcv from their configurations (`pip install '.[models]'`), without
weights from anywhere. The true pairs are found without `swap`, by running each model (`truth.py`).
"""
