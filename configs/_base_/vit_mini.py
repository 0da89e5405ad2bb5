"""The encoder of the demo: 4 layers of width 128, and its pixels.

A config takes them out by ``_base_.pop('vit_mini')``, for
``model.backbone.arch``, and ``_base_.pop('pixels')``, for its
``data_preprocessor``. All channels are scaled alike, so that grey is 0 but for
its brightness.
"""
vit_mini = dict(
    _delete_=True,
    embed_dims=128,
    num_layers=4,
    num_heads=4,
    feedforward_channels=512)
pixels = dict(mean=[120.] * 3, std=[60.] * 3)
