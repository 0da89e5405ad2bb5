"""The encoder of the demo: 4 layers of width 128.

A config takes it out by ``_base_.pop('vit_mini')``, for
``model.backbone.arch``.
"""
vit_mini = dict(
    _delete_=True,
    embed_dims=128,
    num_layers=4,
    num_heads=4,
    feedforward_channels=512)
