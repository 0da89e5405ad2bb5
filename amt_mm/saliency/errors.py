"""Why a saliency store cannot be used."""


class SaliencyStoreError(ValueError):
    """The store on disk cannot be used; the message says why."""


class SaliencyMapsLostError(SaliencyStoreError):
    """What the store should hold is missing or damaged."""
